-- Take from all buckets of one owner, or from none.
-- KEYS: the owner's buckets, its leases, a key of lows for each bucket of a minute or an hour, the reservation.
-- ARGV: the time in tests, the reservation's id, 1 to take in any case (2: and nobody settles it), the number of buckets,
-- of each its name, its window (seconds, `day`, `month`, `concurrent`) and its amount, then the cost in each, then the
-- ids of leases that have ended.
-- Returns doubles: 1 or 0 for taken, then of each bucket: used, seconds to wait, seconds until nothing is used.

local LEASE_S, RECORD_S, UNSETTLED_S, SLACK_S, MAX_LOWS = 60, 86400, 600, 60, 1000
local now = present(ARGV[1])
local now_text = text(now)
local hash, leases, record = KEYS[1], KEYS[2], KEYS[#KEYS]
local is_made = redis.call('EXISTS', record) == 1
local count = tonumber(ARGV[4])
local costs = 4 + 3 * count
for at = costs + count + 1, #ARGV, 1000 do redis.call('ZREM', leases, unpack(ARGV, at, math.min(at + 999, #ARGV))) end
local names = {}
for place = 1, count do names[place] = ARGV[2 + 3 * place] end
names[count + 1] = 'serial'
local held = redis.call('HMGET', hash, unpack(names))

local buckets, fits, lows = {}, true, 2
for place = 1, count do
  local at = 2 + 3 * place
  local bucket = {  -- all fields at once: a table that grows is made anew again and again
    name = names[place], per = ARGV[at + 1], amount = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[costs + place]),
    used = 0, wait = 0, free = 0, seconds = false, rate = false, was = false, at = false, lows = false,
    begins = false, ends = false,
  }
  if bucket.per == 'concurrent' then
    redis.call('ZREMRANGEBYSCORE', leases, '-inf', now_text)
    bucket.used = redis.call('ZCARD', leases)
    if bucket.used + bucket.cost > bucket.amount then bucket.wait = 1 end
  elseif bucket.per == 'day' or bucket.per == 'month' then
    bucket.used, bucket.begins, bucket.ends = calendar(held[place], bucket.per, now)
    if bucket.used + bucket.cost > bucket.amount * (1 + 1e-9) then bucket.wait = bucket.ends - now end
  else
    lows = lows + 1
    bucket.seconds, bucket.lows = tonumber(bucket.per), KEYS[lows]
    bucket.used, bucket.was, bucket.at = sliding(held[place], bucket.seconds, now)
    bucket.rate = bucket.amount / bucket.seconds
    local over = bucket.used + bucket.cost - bucket.amount
    if over > bucket.amount * 1e-9 + bucket.rate * 1e-6 then bucket.wait = over / bucket.rate end
  end
  if bucket.wait > 0 then fits = false end
  buckets[place] = bucket
end

local taken = is_made or fits or ARGV[3] ~= '0'
local is_new = taken and not is_made
local values, marks, longest, extended = {}, {}, 0, nil
-- The newest serial, and a moment until which the hash lives: so most requests leave that as it is.
local serial, lives = string.match(held[count + 1] or '', '^(%S+) ?(%S*)$')
serial, lives = after(serial, now), number(lives)
for place, bucket in ipairs(buckets) do
  local mark = 0  -- a whole number
  if bucket.seconds then
    if is_new then
      mark = serial
      local low = text(bucket.used)
      redis.call('ZREMRANGEBYSCORE', bucket.lows, low, '+inf')
      redis.call('ZADD', bucket.lows, low, string.format('%016d', serial))
      if serial % 64 == 0 and redis.call('ZCARD', bucket.lows) > MAX_LOWS then
        -- Join each of the oldest with the next: reservations between them get the first one's low.
        local oldest = redis.call('ZRANGE', bucket.lows, 0, 255, 'WITHSCORES')
        for at = 1, #oldest, 4 do
          redis.call('ZREM', bucket.lows, oldest[at])
          redis.call('ZADD', bucket.lows, oldest[at + 1], oldest[at + 2])
        end
      end
      bucket.used = bucket.used + bucket.cost
    end
    bucket.free = bucket.used / bucket.rate
    if is_new then redis.call('PEXPIRE', bucket.lows, ms(bucket.free + SLACK_S)) end
    -- A clock that was put back: it drains from now on, not from the moment that it had reached.
    if is_new or bucket.was and (bucket.was ~= bucket.amount or bucket.at > now) then
      values[#values + 1] = bucket.name
      values[#values + 1] = text(bucket.used) .. ' ' .. now_text .. ' ' .. ARGV[4 + 3 * place]
    end
    longest = math.max(longest, bucket.free)
  elseif bucket.begins then
    mark = bucket.begins
    if is_new then
      bucket.used = bucket.used + bucket.cost
      values[#values + 1] = bucket.name
      values[#values + 1] = text(bucket.used) .. ' ' .. text(bucket.begins)
    end
    bucket.free = bucket.used > 0 and bucket.ends - now or 0
    longest = math.max(longest, bucket.ends - now)
  else
    if is_new then
      redis.call('ZADD', leases, text(now + LEASE_S), ARGV[2])
      redis.call('PEXPIRE', leases, (LEASE_S + SLACK_S) * 1000)
      bucket.used = bucket.used + 1
    end
    bucket.free = -1
  end
  marks[place] = string.format('%s %s %s %d', bucket.name, bucket.per, ARGV[costs + place], mark)
end
if is_new then
  redis.call('SET', record, table.concat(marks, '\n'), 'EX', ARGV[3] == '2' and UNSETTLED_S or RECORD_S)
  if not lives or lives < now + longest + SLACK_S then
    extended = longest + 2 * SLACK_S
    lives = now + extended
  end
  values[#values + 1] = 'serial'
  values[#values + 1] = string.format('%d %d', serial, lives)
end
if #values > 0 then redis.call('HSET', hash, unpack(values)) end
if extended then live(hash, extended) end

local answer = {taken and 1 or 0}
for _, bucket in ipairs(buckets) do
  answer[#answer + 1] = bucket.used
  answer[#answer + 1] = bucket.wait
  answer[#answer + 1] = bucket.free
end
return struct.pack('<' .. string.rep('d', #answer), unpack(answer))
