-- Tell the other replicas of a target's rest, or of its end.
-- KEYS: the rests (a hash: target → who told it, when, and what), and the targets by the number of their newest news.
-- ARGV: the target's digest, who tells, the rest as JSON, nothing for its end, and the seconds until nobody needs it.

local now = present('')
local serial = after(redis.call('HGET', KEYS[1], 'serial'), now)
local news = text(now) .. ' ' .. text(now + tonumber(ARGV[4])) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], news, 'serial', string.format('%d', serial))
redis.call('ZADD', KEYS[2], serial, ARGV[1])
live(KEYS[1], tonumber(ARGV[4]) + 60)
live(KEYS[2], tonumber(ARGV[4]) + 60)
return 1
