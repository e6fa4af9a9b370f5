-- Renew leases of one owner, those that have ended too: their requests go on.
-- KEYS: the owner's leases. ARGV: the time in tests, then the reservations' ids.

local LEASE_S, SLACK_S = 60, 60
local ends = text(present(ARGV[1]) + LEASE_S)
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[at]) end
redis.call('PEXPIRE', KEYS[1], (LEASE_S + SLACK_S) * 1000)
return 1
