-- Removes what was asked for before a time T from a partition, and leaves that in its tombstone.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens
-- KEYS[2]  <prefix>:v1:{pid}:tombstone  STRING: the latest time of removals, and what each is of (tombstone.go)
-- KEYS[3]  <prefix>:v1:{pid}:rids       ZSET: what was answered with this partition's tokens; left to the caller
-- ARGV[1]  the tombstone's life in milliseconds
-- ARGV[2]  when the removal was asked for, in microseconds of Redis time as the caller believes; "0": it does not know
-- ARGV[3]  of the first try: how late it may come, in microseconds; "0": of another
-- ARGV[4]  the earliest that T may be: later than what the caller has
-- ARGV[5]  the scopes whose tokens go, as the tombstone names them; "": all of the partition
-- ARGV[6]  how wrong ARGV[2] may be, in microseconds
--
-- Returns  { Redis time in microseconds, tombstone, how many entries are left, member of rids, ... }
--
-- T is now at the first try, and later than each session and removal that is there. Any other try, and a first one that comes when its
-- caller may have given it up, or after a removal that was asked for later, is late: T is when it was asked for, so that it ends no
-- session that began since. Tombstones merge by the latest time, so that doing it twice changes nothing. Tokens of some scopes are
-- deleted by the caller, who can read them.
--
-- It deletes before it writes, so that a full Redis can sign out too.
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local ahead = us + 5000000 -- a later time is none of ours, or of a Redis whose clock was once ahead
local asked, of = tonumber(ARGV[2]), ARGV[5] == '' and '*' or ARGV[5]

local text = redis.pcall('GET', KEYS[2])
if type(text) ~= 'string' or #text > 8192 then text = '' end -- none, or none of ours
local removed = {}
local first, rest = string.match(text, '^(%d+) ?(.*)$')
if first and not string.find(rest, '=', 1, true) then removed['*'] = tonumber(first) end
for what, at in string.gmatch(rest or '', '(%S+)=(%d+)') do removed[what] = tonumber(at) end
local early = removed['early'] or 0 -- by how much removed['*'] was ahead of Redis's time when it was carried out
removed['early'] = nil
for what, at in pairs(removed) do
  if at > ahead or at < us - ARGV[1] * 1000 then removed[what] = nil end
end

local all = redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HGETALL', KEYS[1]) or {}
-- session is when what an entry belongs to was asked for: its sign-in, or itself.
local function session(value)
  local at = tonumber(string.match(string.sub(value, 27, 43), '^s(%d+)$') or string.match(string.sub(value, 1, 16), '^%d+$') or 0)
  return at > ahead and 0 or at
end

local T = math.max(asked, tonumber(ARGV[4]))
local written = T
local others = math.max(removed['*'] or 0, removed[of] or 0)
if ARGV[3] ~= '0' and (asked == 0 or us <= asked + ARGV[3] and others < asked + ARGV[6]) then
  written = us
  T = math.max(us, tonumber(ARGV[4]), others + 1)
  if of == '*' then
    for i = 1, #all, 2 do
      if all[i] ~= 'v' then T = math.max(T, session(all[i + 1]) + 1) end
    end
  end
end
if of == '*' and removed['*'] then
  written = math.max(written, removed['*'] - early)
end
T = math.min(T, ahead) -- a tombstone of a later time would count for none
removed[of] = math.max(removed[of] or 0, T)
if of == '*' then early = removed['*'] - written elseif not removed['*'] then early = 0 end
local whole, some, latest = removed['*'] or 0, {}, 0
for what, at in pairs(removed) do
  latest = math.max(latest, at)
  if what ~= '*' and at > whole then some[#some + 1] = what .. '=' .. string.format('%.0f', at) end
end
if #some > 32 or #table.concat(some) > 4096 then
  whole, some, early = latest, {}, 0
end

local gone, left = {}, 0
for i = 1, #all, 2 do
  if all[i] == 'v' then
    -- below
  elseif session(all[i + 1]) < whole then
    gone[#gone + 1] = all[i]
  else
    left = left + 1
  end
end
if left == 0 then
  redis.call('DEL', KEYS[1])
elseif #gone > 0 then
  local before = tonumber(redis.call('HGET', KEYS[1], 'v') or '0') or 0
  for i = 1, #gone do redis.call('HDEL', KEYS[1], gone[i]) end
  redis.call('HDEL', KEYS[1], 'v')
  redis.call('HSET', KEYS[1], 'v', string.format('%.0f', math.max(before + 1, us)))
end
local tombstone = string.format('%.0f', latest)
if #some > 0 or early > 0 then
  if whole > 0 then some[#some + 1] = '*=' .. string.format('%.0f', whole) end
  if early > 0 then some[#some + 1] = 'early=' .. string.format('%.0f', early) end
  tombstone = tombstone .. ' ' .. table.concat(some, ' ')
end
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[2], tombstone, 'PX', ARGV[1])

local answer = { string.format('%.0f', us), tombstone, string.format('%.0f', left) }
if redis.call('TYPE', KEYS[3]).ok == 'zset' then
  local members = redis.call('ZRANGE', KEYS[3], 0, 16383)
  for i = 1, #members do
    if #members[i] <= 256 then answer[#answer + 1] = members[i] end
  end
end
return answer
