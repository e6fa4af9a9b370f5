-- End reservations of one owner, each once, by what their requests used.
-- KEYS: the owner's buckets, its leases, the reservations.
-- ARGV: the time in tests; the format of a double for each bucket; their windows; of each reservation 1 if this may arrive
-- before the reservation itself, else 0, and what was used of each bucket, below 0 if that stays as it was taken; then the
-- names of the hash's fields, as `reserve` has them.

local TOMBSTONE_S = 600
local call, pack, doubles, sub = redis.call, struct.pack, struct.unpack, string.sub
local now = present(ARGV[1])
local hash, leases, format = KEYS[1], KEYS[2], ARGV[2]
local windows = {doubles(format, ARGV[3])}
local count = #format - 1

local calendars, has_leases = 0, false
for place = 1, count do
  if windows[place] < 0 then calendars = calendars + 1 elseif windows[place] == 0 then has_leases = true end
end

-- The buckets, read once somebody used other than was taken; and what the hash has beside.
local held, buckets, serial_of_lows, lives, leases_live, swept
local function read_buckets()
  held, buckets = call('HMGET', hash, unpack(ARGV, 5)), {}
  serial_of_lows, lives, leases_live, swept = rest_of(held[#ARGV - 4], now)
  local field, marked = 0, count + 1
  for place = 1, count do
    local per = windows[place]
    local bucket = {used = 0, amount = false, begins = false, marked = false, was = false, lows = false, told = false,
      is_noted = false, is_changed = false}
    if per ~= 0 then
      field = field + 1
      bucket.was = held[field]
      if per < 0 then
        marked = marked + 1
        bucket.marked = marked
        bucket.used, bucket.begins = calendar(bucket.was, per, now)
      else
        local at
        bucket.used, bucket.amount, at, bucket.told = sliding(bucket.was, per, now)
        field = field + 1
        bucket.was = held[field]
      end
    end
    buckets[place] = bucket
  end
end

local is_any_noted = false

-- How low a bucket was, as tables: serials, and the rise of each low above the one before, as `sliding.Lows` has it.
-- So what is given back changes one rise. `top` is the last low.
local function read_lows(bucket)
  local serials, rises, top, held = {}, {}, 0, lows_of(bucket.was)
  for at = 1, #held, LOW do
    local serial, low = doubles('<dd', held, at)
    serials[#serials + 1], rises[#rises + 1], top = serial, low - top, low
  end
  bucket.lows = {serials = serials, rises = rises, top = top}
end

-- How much of `back` a reservation gets: no more than what of it was there at every moment since.
local function given_back(bucket, serial, back)
  if not bucket.lows then read_lows(bucket) end
  local lows = bucket.lows
  local serials, rises = lows.serials, lows.rises
  if back > bucket.used then back = bucket.used end
  local first, most = 1, #serials + 1
  while first < most do
    local middle = math.floor((first + most) / 2)
    if serials[middle] > serial then most = middle else first = middle + 1 end
  end
  if first > #rises then return back end
  local low = first == #rises and lows.top or 0
  if first < #rises then
    for at = 1, first do low = low + rises[at] end
  end
  if back > low then back = math.max(0, low) end
  rises[first], lows.top = rises[first] - back, lows.top - back
  while first > 1 and rises[first] <= 0 do  -- those before stay the lower ones
    first = first - 1
    rises[first] = rises[first] + rises[first + 1]
    table.remove(serials, first)
    table.remove(rises, first + 1)
  end
  return back
end

-- Note how low a bucket was before something is added that nobody had reserved: it is of nobody else. Once in a script
-- is enough, as what is given back meanwhile lowers both.
local function note(bucket)
  if bucket.is_noted or serial_of_lows < 0 then return end
  bucket.is_noted, is_any_noted = true, true
  if not bucket.lows then read_lows(bucket) end
  local lows = bucket.lows
  local serials, rises = lows.serials, lows.rises
  while #rises > 0 and lows.top >= bucket.used do
    lows.top = lows.top - rises[#rises]
    serials[#serials], rises[#rises] = nil, nil
  end
  if #rises == 0 then lows.top = 0 end
  serials[#serials + 1], rises[#rises + 1], lows.top = serial_of_lows + 1, bucket.used - lows.top, bucket.used
end

local records = call('MGET', unpack(KEYS, 3))
local record_format = format .. 'd' .. string.rep('d', calendars)
local record_bytes = 8 * (#record_format - 1)
local end_format = format .. 'd'
local done, freed, is_any_changed = {}, {}, false
for each = 1, #records do
  local record, key = records[each], KEYS[2 + each]
  local ends = {doubles(end_format, ARGV[4], (each - 1) * 8 * (count + 1) + 1)}
  if ends[1] == 1 then call('SET', key, '', 'EX', TOMBSTONE_S)
  elseif record then done[#done + 1] = key end
  if has_leases then freed[#freed + 1] = sub(key, #hash + 4) end  -- also of what Redis lost and a renewal brought back
  if record and #record == record_bytes then
    local taken = {doubles(record_format, record)}
    local serial = number(taken[count + 1])
    for place = 1, count do
      local used = ends[1 + place]
      if windows[place] ~= 0 and used >= 0 and used ~= taken[place] and number(taken[place]) and serial then
        if not buckets then read_buckets() end
        local bucket = buckets[place]
        local by, of = used - taken[place], bucket.used
        if bucket.amount then
          if by < 0 then by = -given_back(bucket, serial, -by) else note(bucket) end
          bucket.used, bucket.is_changed, is_any_changed = of + by, true, true
        elseif bucket.was and bucket.begins and bucket.begins == taken[bucket.marked] then
          bucket.used, bucket.is_changed, is_any_changed = math.max(0, of + by), true, true
        end
      end
    end
  end
end
if #done > 0 then call('DEL', unpack(done)) end
if #freed > 0 then call('ZREM', leases, unpack(freed)) end
if not is_any_changed then return 1 end

local values, longest, name, now_text = {}, 0, 4, text(now)
for place = 1, count do
  local bucket, per = buckets[place], windows[place]
  if per ~= 0 then name = name + 1 end
  if bucket.is_changed then
    values[#values + 1] = ARGV[name]
    if per < 0 then
      values[#values + 1] = string.format('%s %d', used_text(bucket.used), bucket.begins)
    else
      values[#values + 1] = used_text(bucket.used) .. ' ' .. now_text .. ' ' .. bucket.told
      longest = math.max(longest, bucket.used * per / bucket.amount)
      if bucket.lows then
        local serials, low, entries = bucket.lows.serials, 0, {}
        for at, rise in ipairs(bucket.lows.rises) do
          low = low + rise
          entries[at] = pack('<dd', serials[at], low)
        end
        values[#values + 1] = ARGV[name + 1]
        values[#values + 1] = table.concat(entries)
      end
    end
  end
  if per > 0 then name = name + 1 end
end
if is_any_noted then
  values[#values + 1] = ARGV[#ARGV]
  values[#values + 1] = pack('<dddd', serial_of_lows + 1, lives, leases_live, swept)
end
call('HSET', hash, unpack(values))
if not (lives >= now + longest + SLACK_S) then live(hash, longest + SLACK_S) end
return 1
