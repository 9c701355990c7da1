-- Announces in the change log that a partition is about to be removed.
--
-- KEYS[1]  <prefix>:v1:{changes}:log  ZSET of announcements by number
-- ARGV[1]  the partition
-- ARGV[2]  a word of this announcement alone
-- ARGV[3]  how many announcements the log keeps
-- ARGV[4]  its life in milliseconds
--
-- Returns  { Redis time in microseconds }
--
-- An announcement is its number, the word and the partition. The word tells it from another of that number, in a log
-- that was lost and begun anew.
local now = redis.call('TIME')
local latest
if redis.call('TYPE', KEYS[1]).ok == 'zset' then
  latest = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
end
if not latest or #latest > 256 or not string.match(latest, '^%d+ %w+ [%w_-]+$') then -- there is none, or none of ours
  redis.call('DEL', KEYS[1])
  latest = '0'
end
local number = tonumber(string.match(latest, '^%d+')) + 1
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[3])) -- first: a full Redis takes what begins with a deletion
redis.call('ZADD', KEYS[1], number, string.format('%.0f %s %s', number, ARGV[2], ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { string.format('%.0f', now[1] * 1000000 + now[2]) }
