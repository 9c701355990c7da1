-- Reads what the change log has announced since a position. Where there is no log it begins one, so that its loss shows.
--
-- KEYS[1]  <prefix>:v1:{changes}:log  ZSET of announcements by number (announce.lua)
-- ARGV[1]  the position: the latest announcement that the caller has read; "" for none
-- ARGV[2]  how many announcements the log keeps
-- ARGV[3]  a word of this reading alone
-- ARGV[4]  the log's life in milliseconds, where it is begun
--
-- Returns  { Redis time in microseconds, the latest announcement or "", "1" or "0", { announcement, ... } }
--          "1": all since the position follow. "0": that is not known, because there was none, or the log was lost since or
--          keeps too few.
local now = redis.call('TIME')
local us = string.format('%.0f', now[1] * 1000000 + now[2])
local latest
if redis.call('TYPE', KEYS[1]).ok == 'zset' then
  latest = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
end
if not latest or #latest > 256 or not string.match(latest, '^%d+ %w+ [%w_-]+$') then -- there is none, or none of ours
  local first = '1 ' .. ARGV[3] .. ' -'
  -- pcall: a server that is read-only refuses this, and a reading must not fail for it.
  local begun = redis.pcall('DEL', KEYS[1])
  if type(begun) == 'number' then begun = redis.pcall('ZADD', KEYS[1], 1, first) end
  if type(begun) ~= 'number' then return { us, '', '0', {} } end
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return { us, first, '0', {} }
end
if ARGV[1] == '' then return { us, latest, '0', {} } end
if latest == ARGV[1] then return { us, latest, '1', {} } end
-- How far back the position must stand, by the numbers.
local back = tonumber(string.match(latest, '^%d+')) - tonumber(string.match(ARGV[1], '^%d+') or '0')
if back < 1 or back >= tonumber(ARGV[2]) then return { us, latest, '0', {} } end
local since = redis.call('ZRANGE', KEYS[1], -1 - back, -1)
if #since ~= back + 1 or table.remove(since, 1) ~= ARGV[1] then return { us, latest, '0', {} } end
return { us, latest, '1', since }
