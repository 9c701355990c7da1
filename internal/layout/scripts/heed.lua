-- Reads what the removal log has announced since a position.
--
-- KEYS[1]  <prefix>:v1:{removals}:log  ZSET of announcements by number (announce.lua)
-- ARGV[1]  the position: the latest announcement that the caller has read; "" of an empty log
-- ARGV[2]  "1": the caller has a position
-- ARGV[3]  how many announcements the log keeps
--
-- Returns  { Redis time in microseconds, the latest announcement or "", "1" or "0", { announcement, ... } }
--          "1": all since the position follow. "0": that is not known, because there was none, or the log was lost since or
--          keeps too few.
local now = redis.call('TIME')
local us = string.format('%.0f', now[1] * 1000000 + now[2])
local latest = ''
if redis.call('TYPE', KEYS[1]).ok == 'zset' then
  latest = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
  if #latest > 256 then latest = '' end -- none of ours
end
if ARGV[2] ~= '1' then return { us, latest, '0', {} } end
if latest == ARGV[1] then return { us, latest, '1', {} } end
-- How far back the position must stand, by the numbers.
local back = tonumber(string.match(latest, '^%d+') or '0') - tonumber(string.match(ARGV[1], '^%d+') or '0')
if latest == '' or ARGV[1] == '' or back < 1 or back >= tonumber(ARGV[3]) then return { us, latest, '0', {} } end
local since = redis.call('ZRANGE', KEYS[1], -1 - back, -1)
if #since ~= back + 1 or table.remove(since, 1) ~= ARGV[1] then return { us, latest, '0', {} } end
return { us, latest, '1', since }
