-- Take for reservations of one owner, one after the other: each from all of its buckets, or from none.
-- KEYS: the owner's buckets, its leases, the reservations.
-- ARGV: the time in tests; 1 to take in any case (2: and nobody settles it); as doubles, the format of one for each bucket,
-- their windows, their amounts, and the costs of each reservation; the names of the hash's fields (of each bucket that is
-- not one of requests at once, of its lows if it is of a minute or an hour; then of what it has beside); then the ids of
-- leases that have ended.
-- Returns of each bucket the seconds until its day or month ends, else 0; then of each reservation a byte 1 and what is used
-- of each bucket, or a byte 0, what is used, and the seconds to wait for each.

local RECORD_S, UNSETTLED_S, SWEEP_S, MAX_LOWS, JOINED = 86400, 600, 1, 1000, 256
local call, pack, doubles, sub = redis.call, struct.pack, struct.unpack, string.sub
local now = present(ARGV[1])
local now_text = text(now)
local hash, leases, how, format, reservations = KEYS[1], KEYS[2], ARGV[2], ARGV[3], #KEYS - 2
local windows, amounts = {doubles(format, ARGV[4])}, {doubles(format, ARGV[5])}
local count = #format - 1

local fields = 7
for place = 1, count do
  if windows[place] > 0 then fields = fields + 2 elseif windows[place] < 0 then fields = fields + 1 end
end
local held = call('HMGET', hash, unpack(ARGV, 7, fields))
for at = fields + 1, #ARGV, 1000 do call('ZREM', leases, unpack(ARGV, at, math.min(at + 999, #ARGV))) end
local serial, lives, leases_live, swept = rest_of(held[fields - 6], now)
if not (serial >= 0 and serial < 2 ^ 53 - #KEYS) then serial = math.floor(now * 1000000) end

-- What is used of each bucket, and the seconds until its day or month ends: as many as there are.
local used, ends_in = {doubles(format, ARGV[5])}, {doubles(format, ARGV[5])}
local buckets, begins, field, at_once, had_leases, is_changed = {}, '', 0, nil, false, false
for place = 1, count do
  local per, amount = windows[place], amounts[place]
  local bucket = {most = amount, rate = false, begins = false, lows = '', newer = '', own = false, low = 0, told = false}
  ends_in[place] = 0
  if per == 0 then
    at_once = place
    local leased = call('ZCARD', leases)
    -- While there is room, leases may count that ended within the last second.
    if leased > 0 and (leased + reservations > amount or not (now >= swept and now < swept + SWEEP_S)) then
      leased = leased - call('ZREMRANGEBYSCORE', leases, '-inf', now_text)
      swept = now
    end
    used[place], had_leases = leased, leased > 0
  else
    field = field + 1
    local was = held[field]
    if per < 0 then
      local ends
      used[place], bucket.begins, ends = calendar(was, per, now)
      ends_in[place] = ends - now
      bucket.most = amount * (1 + 1e-9)
      begins = begins .. pack('<d', bucket.begins)
    else
      local of, at
      used[place], of, at, bucket.told = sliding(was, per, now)
      field = field + 1
      if of then
        bucket.lows = lows_of(held[field])
        -- A clock that was put back: it drains from now on, not from the moment that it had reached.
        if of ~= amount or at > now then is_changed = true end
        if of ~= amount then bucket.told = false end
      end
      local rate = amount / per
      bucket.rate, bucket.most = rate, amount + amount * 1e-9 + rate * 1e-6
    end
  end
  buckets[place] = bucket
end

local seconds, lease_ends = how == '2' and UNSETTLED_S or RECORD_S, lease_end(now)
local record_format = format .. 'd'
local answers, members, is_taking = {pack(format, unpack(ends_in))}, {}, false
for each = 1, reservations do
  local record = KEYS[2 + each]
  local costs = {doubles(format, ARGV[6], (each - 1) * 8 * count + 1)}
  local is_taken = true
  for place = 1, count do
    if used[place] + costs[place] > buckets[place].most then is_taken = how ~= '0' end
  end
  if is_taken then
    -- What `settle` needs: the costs, the serial, and the begins of days and months.
    local own = serial + 1
    costs[count + 1] = own
    if call('SET', record, pack(record_format, unpack(costs)) .. begins, 'EX', seconds, 'NX') then
      serial, is_taking = own, true
      for place = 1, count do
        local bucket, low = buckets[place], used[place]
        used[place] = low + costs[place]
        if bucket.rate then
          if not bucket.own then
            local kept = #bucket.lows
            while kept > 0 and doubles('<d', bucket.lows, kept - 7) >= low do kept = kept - LOW end
            if kept < #bucket.lows then bucket.lows = sub(bucket.lows, 1, kept) end
          elseif bucket.low < low then
            bucket.newer = bucket.newer .. pack('<dd', bucket.own, bucket.low)
          end
          bucket.own, bucket.low = own, low
        elseif place == at_once then
          used[place] = low + 1
          members[#members + 1] = lease_ends
          members[#members + 1] = sub(record, #hash + 4)
        end
      end
    end
  else
    is_taken = call('EXISTS', record) == 1
  end
  local told = pack(format, unpack(used))
  if is_taken then
    answers[1 + each] = '\1' .. told
  else
    local waits = {}
    for place = 1, count do
      local bucket, over = buckets[place], used[place] + costs[place] - amounts[place]
      waits[place] = 0
      if used[place] + costs[place] > bucket.most then
        waits[place] = bucket.rate and over / bucket.rate or bucket.begins and ends_in[place] or 1
      end
    end
    answers[1 + each] = '\0' .. told .. pack(format, unpack(waits))
  end
end

if #members > 0 then
  call('ZADD', leases, unpack(members))
  if not had_leases or not (leases_live >= now + LEASE_S + SLACK_S) then
    call('PEXPIRE', leases, LEASES_S * 1000)
    leases_live = now + LEASES_S
  end
end

if is_taking or is_changed then
  local values, longest, extended = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, nil
  local filled, name = 0, 6
  for place = 1, count do
    local bucket, free_in = buckets[place], ends_in[place]
    if place ~= at_once then
      name, filled = name + 1, filled + 2
      values[filled - 1] = ARGV[name]
      if bucket.begins then
        values[filled] = string.format('%s %d', used_text(used[place]), bucket.begins)
      else
        free_in = used[place] / bucket.rate
        values[filled] = used_text(used[place]) .. ' ' .. now_text .. ' ' .. (bucket.told or text(amounts[place]))
        name = name + 1
        if bucket.own then
          local lows = bucket.lows .. bucket.newer
          if #lows >= MAX_LOWS * LOW then
            -- Join each of the oldest with the next: reservations between them get the first one's low.
            local joined = {}
            for at = 1, JOINED * LOW, 2 * LOW do
              joined[#joined + 1] = sub(lows, at + LOW, at + LOW + 7) .. sub(lows, at + 8, at + 15)
            end
            lows = table.concat(joined) .. sub(lows, JOINED * LOW + 1)
          end
          filled = filled + 2
          values[filled - 1], values[filled] = ARGV[name], lows .. pack('<dd', bucket.own, bucket.low)
        end
      end
      if free_in > longest then longest = free_in end
    end
  end
  -- Also if nothing is taken: a lower amount makes what is used take longer to drain.
  if not (lives >= now + longest + SLACK_S) then
    extended = math.min(longest + 2 * SLACK_S, MOST_S)
    lives = now + extended
  end
  values[filled + 1] = ARGV[name + 1]
  values[filled + 2] = pack('<dddd', serial, lives, leases_live, swept)
  filled = filled + 2
  call('HSET', hash, unpack(values, 1, filled))
  if extended then live(hash, extended) end
end
return table.concat(answers)
