-- End reservations of one owner, each once, by what their requests used.
-- KEYS: the owner's buckets, its leases, then the key of lows for each bucket of a minute or an hour, then the
-- reservations. ARGV: the time in tests, how many buckets have lows, their names, then of each reservation its id, 1 if
-- it may arrive before the reservation itself, and what was used of requests, tokens and spend: a number, or nothing if
-- that stays as it was taken.

local TOMBSTONE_S, SLACK_S = 600, 60
local now = present(ARGV[1])
local hash, leases = KEYS[1], KEYS[2]
local with_lows = tonumber(ARGV[2])
local lows_of = {}
for number = 1, with_lows do lows_of[ARGV[2 + number]] = KEYS[2 + number] end

-- How much of `back` a reservation gets: no more than what of it was there at every moment since.
local function given_back(lows, serial, back, used)
  local least, most = 0, redis.call('ZCARD', lows)
  local wanted = string.format('%016d', serial)
  local count = most
  while least < most do
    local middle = math.floor((least + most) / 2)
    if redis.call('ZRANGE', lows, middle, middle)[1] > wanted then most = middle else least = middle + 1 end
  end
  back = math.min(back, used)
  if least == count then return back end
  local after = redis.call('ZRANGE', lows, least, -1, 'WITHSCORES')
  back = math.min(back, tonumber(after[2]))
  local low = tonumber(after[2]) - back
  while least > 0 do  -- those before stay the lower ones: first, as the order of the set is that of the lows
    local before = redis.call('ZRANGE', lows, least - 1, least - 1, 'WITHSCORES')
    if tonumber(before[2]) < low then break end
    redis.call('ZREM', lows, before[1])
    least = least - 1
  end
  for at = 1, #after, 2 do redis.call('ZADD', lows, text(tonumber(after[at + 1]) - back), after[at]) end
  return back
end

local function settled(name, per, cost, mark, used)
  local by = used == '' and 0 or tonumber(used) - cost
  if by == 0 then return end
  local held = redis.call('HGET', hash, name)
  if per == 'day' or per == 'month' then
    local was, begins = calendar(held, per, now)
    if held and begins == mark then
      redis.call('HSET', hash, name, text(math.max(0, was + by)) .. ' ' .. text(begins))
    end
    return
  end
  local lows, seconds = lows_of[name], tonumber(per)
  local was, amount = sliding(held, seconds, now)
  if not amount then return end
  if by > 0 then was = was + by else was = was - given_back(lows, mark, -by, was) end
  redis.call('HSET', hash, name, text(was) .. ' ' .. text(now) .. ' ' .. text(amount))
  local free = was * seconds / amount + SLACK_S
  live(hash, free)
  if redis.call('EXISTS', lows) == 1 then live(lows, free) end
end

local at = 3 + with_lows
for number = 3 + with_lows, #KEYS do
  local record = redis.call('GET', KEYS[number])
  if not record then
    if ARGV[at + 1] == '1' then redis.call('SET', KEYS[number], '', 'EX', TOMBSTONE_S) end
  else
    if ARGV[at + 1] == '1' then redis.call('SET', KEYS[number], '', 'EX', TOMBSTONE_S)
    else redis.call('DEL', KEYS[number]) end
    local used = {requests = ARGV[at + 2], tokens = ARGV[at + 3], spend = ARGV[at + 4]}
    for name, per, cost, mark in string.gmatch(record, '(%S+) (%S+) (%S+) (%S+)') do
      if per == 'concurrent' then redis.call('ZREM', leases, ARGV[at])
      else settled(name, per, tonumber(cost), tonumber(mark), used[string.match(name, '^[^/]+')]) end
    end
  end
  at = at + 5
end
return 1
