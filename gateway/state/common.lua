-- Shared by the scripts. A number is written so that it reads back as the same one.

local function text(number) return string.format('%.17g', number) end

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

-- A bucket as the hash has it: of a minute or an hour `used at amount`, of a day or a month `used begin`.
local function sliding(held, seconds, now)
  if not held then return 0 end
  local used, at, amount = string.match(held, '^(%S+) (%S+) (%S+)$')
  used, at, amount = tonumber(used), tonumber(at), tonumber(amount)
  if now > at then
    used = used - (now - at) * (amount / seconds)
    if used < 0 then used = 0 end
  end
  return used, amount
end

local function calendar(held, per, now)
  local used, reached
  if held then
    used, reached = string.match(held, '^(%S+) (%S+)$')
    used, reached = tonumber(used), tonumber(reached)
  end
  local begins, ends = window(per, now, reached)
  return reached == begins and used or 0, begins, ends
end

-- Have a key live for as long as any bucket in it needs, and never shorter than it does.
local function live(key, seconds)
  local ms = math.ceil(seconds * 1000)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end
