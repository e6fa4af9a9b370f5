-- Renew leases of one owner, those that have ended too: their requests go on.
-- KEYS: the owner's leases. ARGV: the time in tests, then the reservations' ids.

local ends = lease_end(present(ARGV[1]))
local members = {}
for at = 2, #ARGV do members[2 * at - 3], members[2 * at - 2] = ends, ARGV[at] end
redis.call('ZADD', KEYS[1], unpack(members))
redis.call('PEXPIRE', KEYS[1], LEASES_S * 1000)
return 1
