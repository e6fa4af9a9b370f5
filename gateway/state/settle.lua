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

-- How low a bucket was since reservations, as `sliding.Lows` has it, and what of that is to be written.
local function read_lows(key)
  local lows = {serials = {}, lows = {}, changed = math.huge, dropped = {}}
  local held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for at = 1, #held, 2 do
    lows.serials[#lows.serials + 1] = held[at]
    lows.lows[#lows.lows + 1] = tonumber(held[at + 1])
  end
  return lows
end

-- How much of `back` a reservation gets: no more than what of it was there at every moment since.
local function given_back(held, serial, back, used)
  local serials, lows = held.serials, held.lows
  if back > used then back = used end
  local own = string.format('%016d', serial)
  local first, most = 1, #serials + 1
  while first < most do
    local middle = math.floor((first + most) / 2)
    if serials[middle] > own then most = middle else first = middle + 1 end
  end
  if first > #lows then return back end
  if back > lows[first] then back = lows[first] end
  for at = first, #lows do lows[at] = lows[at] - back end
  held.changed = math.min(held.changed, first)
  while first > 1 and lows[first - 1] >= lows[first] do  -- those before stay the lower ones
    first = first - 1
    held.dropped[#held.dropped + 1] = table.remove(serials, first)
    table.remove(lows, first)
    held.changed = math.min(held.changed, first)
  end
  return back
end

local function write_lows(key, held)
  for at = 1, #held.dropped, 1000 do
    redis.call('ZREM', key, unpack(held.dropped, at, math.min(at + 999, #held.dropped)))
  end
  for from = held.changed, #held.lows, 500 do
    local changed = {}
    for at = from, math.min(from + 499, #held.lows) do
      changed[#changed + 1] = text(held.lows[at])
      changed[#changed + 1] = held.serials[at]
    end
    redis.call('ZADD', key, unpack(changed))
  end
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
    bucket.lows = bucket.lows or read_lows(lows_of[name])
    bucket.used = bucket.used - given_back(bucket.lows, mark, -by, bucket.used)
  end
  bucket.is_changed = true
end

local first = 3 + with_lows
local records = redis.call('MGET', unpack(KEYS, first))
local done, freed = {}, {}
for each, record in ipairs(records) do
  local place = first - 1 + each
  local id, may_be_first, requests, tokens, spend = string.match(ARGV[place], '^(%S+) (%d) (%S+) (%S+) (%S+)$')
  if may_be_first == '1' then redis.call('SET', KEYS[place], '', 'EX', TOMBSTONE_S)
  elseif record then done[#done + 1] = KEYS[place] end
  if record then
    local used = {requests = requests, tokens = tokens, spend = spend}
    for name, per, cost, mark in string.gmatch(record, '(%S+) (%S+) (%S+) (%S+)') do
      if per == 'concurrent' then
        freed[#freed + 1] = id
      else
        local of = number(used[string.match(name, '^[^/]+')])
        local is_known = of and (per == 'day' or per == 'month' or lows_of[name]) and number(cost) and number(mark)
        if is_known and of ~= number(cost) then settled(name, per, of - number(cost), number(mark)) end
      end
    end
  end
end
if #done > 0 then redis.call('DEL', unpack(done)) end
if #freed > 0 then redis.call('ZREM', leases, unpack(freed)) end

for name, bucket in pairs(buckets) do
  if bucket.is_changed and bucket.begins then
    redis.call('HSET', hash, name, text(bucket.used) .. ' ' .. text(bucket.begins))
  elseif bucket.is_changed then
    redis.call('HSET', hash, name, text(bucket.used) .. ' ' .. text(now) .. ' ' .. text(bucket.amount))
    local seconds = bucket.used * tonumber(bucket.per) / bucket.amount + SLACK_S
    if bucket.lows then write_lows(lows_of[name], bucket.lows) end
    live(hash, seconds)
    live(lows_of[name], seconds)
  end
end
return 1
