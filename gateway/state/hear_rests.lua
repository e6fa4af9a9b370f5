-- Return the news about rests after a number: that of the newest, then of each its target, its age in seconds, who told
-- it, and what. Old ones are dropped.
-- KEYS: as of `tell_rest`. ARGV: the number of the newest that is known.

local now = present('')
local newest = number(redis.call('HGET', KEYS[1], 'serial')) or 0
local since = tonumber(ARGV[1])
if newest == since then return {ARGV[1]} end
local found = {string.format('%d', newest)}
for _, target in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], newest < since and '-inf' or '(' .. ARGV[1], '+inf')) do
  local told, ends, by, what = string.match(redis.call('HGET', KEYS[1], target) or '', '^(%S+) (%S+) (%S+) (.*)$')
  if not number(told) or (number(ends) or 0) < now then
    redis.call('HDEL', KEYS[1], target)
    redis.call('ZREM', KEYS[2], target)
  else
    found[#found + 1] = target
    found[#found + 1] = text(now - number(told))
    found[#found + 1] = by
    found[#found + 1] = what
  end
end
return found
