-- Shared by the scripts. A number is written so that it reads back as the same one.

local function text(number) return string.format('%.17g', number) end

-- A number as a gateway writes it; nothing for anything else.
local function number(text)
  local found = tonumber(text)
  if found and found >= 0 and found < 1e17 then return found end
end

-- Redis' own clock, in seconds since the epoch; tests give another.
local function present(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end

-- The serial after one that is held: above those of a hash that has expired, or that a Redis without data had.
local function after(held, now)
  local serial = number(held)
  return serial and serial < 2 ^ 53 and serial + 1 or math.floor(now * 1000000)
end

-- Have a key live for as long as any bucket in it needs, and never shorter than it does.
local function live(key, seconds)
  local ms = math.min(math.ceil(seconds * 1000), 400 * 86400000)  -- never so many that Redis refuses them
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end
