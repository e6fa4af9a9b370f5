-- Keep an answer in the place of an older one, and drop those that end first while all take more than they may.
-- KEYS: the answer's, all answers by their end, and what each takes (a hash; `all` is their sum).
-- ARGV: the answer, its name in these two, milliseconds to keep it, the bytes that it takes, and those that all may.

local PRUNED, DROPPED = 64, 256  -- Redis does nothing else meanwhile
local now, name, keep_ms, bytes, most = present(''), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local start = string.sub(KEYS[1], 1, #KEYS[1] - #name)
local all = number(redis.call('HGET', KEYS[3], 'all')) or 0

local function forget(other)
  local found = number(redis.call('HGET', KEYS[3], other))
  if found then all = math.max(0, all - found) end
  redis.call('HDEL', KEYS[3], other)
  redis.call('ZREM', KEYS[2], other)
end

for _, ended in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now), 'LIMIT', 0, PRUNED)) do forget(ended) end
forget(name)
for _ = 1, DROPPED do
  if all + bytes <= most then break end
  local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not first then
    all = 0
    break
  end
  forget(first)
  redis.call('UNLINK', start .. first)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', keep_ms)
redis.call('ZADD', KEYS[2], text(now + keep_ms / 1000), name)
redis.call('HSET', KEYS[3], name, bytes, 'all', text(all + bytes))
live(KEYS[2], keep_ms / 1000 + 60)
live(KEYS[3], keep_ms / 1000 + 60)
return 1
