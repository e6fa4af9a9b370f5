-- Shared by the scripts. A number is written so that it reads back as the same one.

local function text(number) return string.format('%.17g', number) end

-- A number as a gateway writes it; nothing for anything else.
local function number(text)
  local found = tonumber(text)
  if found and found >= 0 and found < 1e17 then return found end
end

-- Milliseconds that a key lives: never so many that Redis refuses them.
local function ms(seconds) return math.min(math.ceil(seconds * 1000), 400 * 86400000) end

-- Redis' own clock, in seconds since the epoch; tests give another.
local function present(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Days from the epoch to the first of a month, and the year and month of a day: the proleptic Gregorian calendar,
-- counted from March, so that the leap day is a year's last.
local function first_of(year, month)
  if month > 12 then year, month = year + 1, 1 end
  local y = month <= 2 and year - 1 or year
  local era = math.floor(y / 400)
  local of_era = y - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5)
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

local function month_of(day)
  local from = day + 719468
  local era = math.floor(from / 146097)
  local of_era = from - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local part = math.floor((5 * of_year + 2) / 153)
  local month = part < 10 and part + 3 or part - 9
  return year + era * 400 + (month <= 2 and 1 or 0), month
end

-- Begin and end of the day or month of `now` in UTC. A clock that goes back a little stays in the window it reached.
local function window(per, now, reached)
  local function of(at)
    local day = math.floor(at / 86400)
    if per == 'day' then return day * 86400, (day + 1) * 86400 end
    local year, month = month_of(day)
    return first_of(year, month) * 86400, first_of(year, month + 1) * 86400
  end
  if reached and now < reached and now >= reached - 3600 then return of(reached) end
  return of(now)
end

-- A bucket as the hash has it: of a minute or an hour `used at amount`, of a day or a month `used begin`. What is none
-- of these, as another program wrote it, counts as absent.
local function sliding(held, seconds, now)
  local used, at, amount = string.match(held or '', '^(%S+) (%S+) (%S+)$')
  used, at, amount = number(used), number(at), number(amount)
  if not (used and at and amount) or amount == 0 then return 0 end
  if now > at then
    used = used - (now - at) * (amount / seconds)
    if used < 0 then used = 0 end
  end
  return used, amount, at
end

local function calendar(held, per, now)
  local used, reached = string.match(held or '', '^(%S+) (%S+)$')
  used, reached = number(used), number(reached)
  local begins, ends = window(per, now, reached)
  return reached == begins and used or 0, begins, ends
end

-- The serial after one that is held: above those of a hash that has expired, or that a Redis without data had.
local function after(held, now)
  local serial = number(held)
  return serial and serial < 2 ^ 53 and serial + 1 or math.floor(now * 1000000)
end

-- Have a key live for as long as any bucket in it needs, and never shorter than it does.
local function live(key, seconds)
  if redis.call('PTTL', key) < ms(seconds) then redis.call('PEXPIRE', key, ms(seconds)) end
end
