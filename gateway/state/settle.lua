-- End reservations of one owner, each once, by what their requests used.
-- KEYS: the owner's buckets, its leases, then the key of lows for each bucket of a minute or an hour, then the
-- reservations. ARGV: the time in tests, how many buckets have lows, their names, then of each reservation one text: its
-- id, 1 if it may arrive before the reservation itself, else 0, and what was used of requests, tokens and spend: a
-- number, or `-` if that stays as it was taken.

local TOMBSTONE_S, SLACK_S = 600, 60
local now = present(ARGV[1])
local hash, leases = KEYS[1], KEYS[2]
local with_lows = tonumber(ARGV[2])
local lows_of = {}
for place = 1, with_lows do lows_of[ARGV[2 + place]] = KEYS[2 + place] end

local buckets = {}  -- Those that were read: `used`, and what is needed to write them.

-- How much of `back` a reservation gets: no more than what of it was there at every moment since.
local function given_back(lows, serial, back, used)
  if back > used then back = used end
  local own = string.format('%016d', serial)
  local first = redis.call('ZRANK', lows, own)
  if first then
    first = first + 1
  else  -- its own low was not among the lowest
    local most
    first, most = 0, redis.call('ZCARD', lows)
    while first < most do
      local middle = math.floor((first + most) / 2)
      if redis.call('ZRANGE', lows, middle, middle)[1] > own then most = middle else first = middle + 1 end
    end
  end
  local after = redis.call('ZRANGE', lows, first, -1, 'WITHSCORES')
  if #after == 0 then return back end
  local low = tonumber(after[2])
  if back > low then back = low end
  low = low - back
  while first > 0 do  -- those before stay the lower ones: first, as the order of the set is that of the lows
    local before = redis.call('ZRANGE', lows, first - 1, first - 1, 'WITHSCORES')
    if tonumber(before[2]) < low then break end
    redis.call('ZREM', lows, before[1])
    first = first - 1
  end
  for at = 1, #after, 512 do
    local changed = {}
    for each = at, math.min(at + 511, #after), 2 do
      changed[#changed + 1] = text(tonumber(after[each + 1]) - back)
      changed[#changed + 1] = after[each]
    end
    redis.call('ZADD', lows, unpack(changed))
  end
  return back
end

local function read(name, per)
  local bucket = {per = per}
  local held = redis.call('HGET', hash, name)
  if per == 'day' or per == 'month' then
    bucket.used, bucket.begins = calendar(held, per, now)
    bucket.is_there = held
  else
    bucket.used, bucket.amount = sliding(held, tonumber(per), now)
    bucket.is_there = bucket.amount
  end
  buckets[name] = bucket
  return bucket
end

local function settled(name, per, by, mark)
  local bucket = buckets[name] or read(name, per)
  if not bucket.is_there then return end
  if bucket.begins then
    if bucket.begins ~= mark then return end
    bucket.used = math.max(0, bucket.used + by)
  elseif by > 0 then
    bucket.used = bucket.used + by
  else
    bucket.used = bucket.used - given_back(lows_of[name], mark, -by, bucket.used)
  end
  bucket.is_changed = true
end

for place = 3 + with_lows, #KEYS do
  local id, may_be_first, requests, tokens, spend = string.match(ARGV[place], '^(%S+) (%d) (%S+) (%S+) (%S+)$')
  local record = redis.call('GET', KEYS[place])
  if may_be_first == '1' then redis.call('SET', KEYS[place], '', 'EX', TOMBSTONE_S)
  elseif record then redis.call('DEL', KEYS[place]) end
  if record then
    local used = {requests = requests, tokens = tokens, spend = spend}
    for name, per, cost, mark in string.gmatch(record, '(%S+) (%S+) (%S+) (%S+)') do
      if per == 'concurrent' then
        redis.call('ZREM', leases, id)
      else
        local of = number(used[string.match(name, '^[^/]+')])
        local is_known = (per == 'day' or per == 'month' or lows_of[name]) and number(cost) and number(mark)
        if of and is_known and of ~= number(cost) then settled(name, per, of - number(cost), number(mark)) end
      end
    end
  end
end

for name, bucket in pairs(buckets) do
  if bucket.is_changed and bucket.begins then
    redis.call('HSET', hash, name, text(bucket.used) .. ' ' .. text(bucket.begins))
  elseif bucket.is_changed then
    redis.call('HSET', hash, name, text(bucket.used) .. ' ' .. text(now) .. ' ' .. text(bucket.amount))
    local seconds = bucket.used * tonumber(bucket.per) / bucket.amount + SLACK_S
    live(hash, seconds)
    live(lows_of[name], seconds)
  end
end
return 1
