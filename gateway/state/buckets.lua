-- Shared by the scripts about buckets. The window of one is told as a number: the seconds of a minute or an hour, 0 for
-- requests at once, -1 for a day, -2 for a month.

local LEASE_S, SLACK_S = 60, 60
local LEASES_S = 2 * (LEASE_S + SLACK_S)  -- how long the key of leases lives
local LOW = 16  -- bytes of an entry of lows
local MOST_S = 400 * 86400  -- a key lives no longer

-- When a lease ends that begins now. Of whole numbers, Redis finds the place of one among others in far fewer steps.
local function lease_end(now) return string.format('%d', math.ceil(now) + LEASE_S) end

-- Begin and end of the day or month of `now` in UTC. A clock that goes back a little stays in the window it reached.
local function window(per, now, reached)
  if reached and now < reached and now >= reached - 3600 then now = reached end
  local day = math.floor(now / 86400)
  if per == -1 then return day * 86400, day * 86400 + 86400 end
  -- The proleptic Gregorian calendar, counted from March, so that the leap day is a year's last.
  local function first_of(year, month)
    if month > 12 then year, month = year + 1, 1 end
    local y = month <= 2 and year - 1 or year
    local era = math.floor(y / 400)
    local of_era = y - era * 400
    local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5)
    return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
  end
  local from = day + 719468
  local era = math.floor(from / 146097)
  local of_era = from - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local part = math.floor((5 * of_year + 2) / 153)
  local month = part < 10 and part + 3 or part - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return first_of(year, month) * 86400, first_of(year, month + 1) * 86400
end

-- A bucket as the hash has it: of a minute or an hour `used at amount`, of a day or a month `used begin`. What is none
-- of these, as another program wrote it, counts as absent.
local function sliding(held, seconds, now)
  local used, at, told = string.match(held or '', '^(%S+) (%S+) (%S+)$')
  local amount
  used, at, amount = number(used), number(at), number(told)
  if not (used and at and amount) or amount == 0 then return 0 end
  if now > at then
    used = used - (now - at) * (amount / seconds)
    if used < 0 then used = 0 end
  end
  return used, amount, at, told
end

-- What is used, as the hash has it: never more than `number` reads, lest a bucket that overflows count as empty.
local function used_text(used) return text(math.min(used, 9e16)) end

local function calendar(held, per, now)
  local used, reached = string.match(held or '', '^(%S+) (%S+)$')
  used, reached = number(used), number(reached)
  local begins, ends = window(per, now, reached)
  return reached == begins and used or 0, begins, ends
end

-- How low it was since reservations, as `sliding.Lows` has it: serial and low of each entry, as doubles, which are read
-- in far fewer steps than text.
local function lows_of(held)
  return held and #held % LOW == 0 and #held < 2000 * LOW and held or ''
end

-- What the hash has beside, as doubles: the newest serial, moments until which the hash and the key of leases live at
-- least, and when ended leases were dropped last.
local function rest_of(held, now)
  if held and #held == 32 then
    local serial, lives, leases_live, swept = struct.unpack('<dddd', held)
    -- A key of which another program says that it lives for ever may have no end.
    if lives <= now + MOST_S and leases_live <= now + MOST_S then return serial, lives, leases_live, swept end
  end
  return -1, 0, 0, 0
end
