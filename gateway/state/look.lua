-- Tell what is used of an owner's buckets now. Nothing is changed.
-- KEYS: the owner's buckets, its leases.
-- ARGV: the time in tests; the format of a double for each bucket; their windows; the name of each.
-- Returns of each bucket the seconds until its day or month ends, else 0; then what is used of each.

local now, format = present(ARGV[1]), ARGV[2]
local windows, held = {struct.unpack(format, ARGV[3])}, redis.call('HMGET', KEYS[1], unpack(ARGV, 4))
local used, ends_in = {}, {}
for place = 1, #format - 1 do
  local per = windows[place]
  ends_in[place] = 0
  if per == 0 then
    used[place] = redis.call('ZCOUNT', KEYS[2], '(' .. text(now), '+inf')
  elseif per < 0 then
    local _, ends
    used[place], _, ends = calendar(held[place], per, now)
    ends_in[place] = ends - now
  else
    used[place] = sliding(held[place], per, now)
  end
end
return struct.pack(format, unpack(ends_in)) .. struct.pack(format, unpack(used))
