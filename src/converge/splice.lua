local key, at, keep, kept = KEYS[1], 5, {}, 0
local call = redis.call
local kind = call('type', key).ok
if kind ~= 'stream' and kind ~= 'none' then return 0 end
local function less(a, b)
  local am, as = a:match('(%d+)-(%d+)')
  local bm, bs = b:match('(%d+)-(%d+)')
  if am == bm then am, bm = as, bs end
  if #am ~= #bm then return #am < #bm end
  return am < bm
end
local function same(a, b)
  if #a ~= #b then return false end
  for n = 1, #a do if a[n] ~= b[n] then return false end end
  return true
end
local function each(ids)
  for n = 1, #ids, 1000 do call('xdel', key, unpack(ids, n, math.min(n + 999, #ids))) end
end
local last, added, deleted
if kind == 'stream' then
  local info = call('xinfo', 'stream', key)
  for n = 1, #info, 2 do
    if info[n] == 'last-generated-id' then last = info[n + 1] end
    if info[n] == 'entries-added' then added = info[n + 1] end
    if info[n] == 'max-deleted-entry-id' then deleted = info[n + 1] end
  end
end
for n = 1, tonumber(ARGV[4]) do
  keep[ARGV[at]] = true
  at = at + 1
  if call('xrange', key, ARGV[at - 1], ARGV[at - 1])[1] then kept = kept + 1 end
end
local missing, raised = {}, false
while ARGV[at] do
  local id, words, count = ARGV[at], {}, tonumber(ARGV[at + 2])
  for n = 1, count do words[n] = ARGV[at + 2 + n] end
  local found = call('xrange', key, id, id)[1]
  if not found or not same(found[2], words) then
    missing[#missing + 1] = {id, words, ARGV[at + 1]}
    if keep[id] and not found then kept = kept + 1 end
    if added and not found then added = added + 1 end
  end
  at = at + 3 + count
end
if #missing > 0 then
  local tail, put, next = {}, {}, 1
  if last and not less(last, missing[1][1]) then
    tail = call('xrange', key, missing[1][1], '+')
    local ids = {}
    for n, entry in ipairs(tail) do
      if #entry[2] > 7000 then return 0 end
      ids[n] = entry[1]
    end
    raised = #ids > 0
    each(ids)
    if added then call('xsetid', key, last, 'ENTRIESADDED', added, 'MAXDELETEDID', '0-1') end
    call('xsetid', key, missing[1][3])
  end
  for _, entry in ipairs(missing) do
    while tail[next] and less(tail[next][1], entry[1]) do
      put[#put + 1] = tail[next]
      next = next + 1
    end
    if tail[next] and tail[next][1] == entry[1] then next = next + 1 end
    put[#put + 1] = entry
  end
  for n = next, #tail do put[#put + 1] = tail[n] end
  for _, entry in ipairs(put) do call('xadd', key, entry[1], unpack(entry[2])) end
  local top = put[#put][1]
  if not last or less(last, top) then last = top end
end
if not last then return 0 end
if ARGV[3] ~= '' and less(last, ARGV[3]) then last = ARGV[3] end
if ARGV[1] == 'REST' then
  local under, most = ARGV[5], tonumber(ARGV[2])
  for n = 6, 4 + tonumber(ARGV[4]) do
    local newer = most > 0 and call('xrange', key, '(' .. ARGV[n], '(' .. under, 'COUNT', most) or {}
    if #newer < most then most = most - 1 end
  end
  call('xtrim', key, 'MAXLEN', #call('xrange', key, under, '+') + most)
elseif ARGV[1] ~= '' and kept == 0 then
  call('xtrim', key, ARGV[1], ARGV[2])
elseif ARGV[1] ~= '' then
  local old, gone, most = nil, {}, nil
  if ARGV[1] == 'MINID' then
    old = call('xrange', key, '-', '(' .. ARGV[2])
  else
    most = call('xlen', key) - kept - tonumber(ARGV[2])
    old = most > 0 and call('xrange', key, '-', '+', 'COUNT', most + kept) or {}
  end
  for _, entry in ipairs(old) do
    if not keep[entry[1]] and (not most or #gone < most) then gone[#gone + 1] = entry[1] end
  end
  raised = raised or #gone > 0
  each(gone)
end
if not added then
  call('XSETID', key, last)
else
  if deleted == '0-0' and raised then deleted = '0-1' end
  call('XSETID', key, last, 'ENTRIESADDED', added, 'MAXDELETEDID', deleted)
end
return 1
