-- Puts a member with an expiry into a bounded list.
--
-- KEYS[1]  ZSET by expiry: <prefix>:v1:{pid}:rids, or <prefix>:v1:{accounts}:list
-- KEYS[2]  the tombstone that forbids it, or KEYS[1] again where none applies
-- ARGV[1]  the member
-- ARGV[2]  its life in milliseconds
-- ARGV[3]  how many members the list holds at most
-- ARGV[4]  when what is listed was asked for, in microseconds of Redis time: a later removal forbids it
-- ARGV[5]  "XX": prolong a member that is listed, and list none
--
-- Returns  { Redis time in microseconds, "1" listed, "-1" a removal forbids it }
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local us = string.format('%.0f', now[1] * 1000000 + now[2])
if KEYS[2] ~= KEYS[1] then
  local tombstone = redis.pcall('GET', KEYS[2]) -- of another type: none
  if type(tombstone) == 'string' and tonumber(string.match(tombstone, '^%d+') or '0') > tonumber(ARGV[4]) then
    return { us, '-1' }
  end
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
local expiry = string.format('%.0f', ms + ARGV[2])
if ARGV[5] == 'XX' then
  redis.call('ZADD', KEYS[1], 'XX', expiry, ARGV[1])
else
  redis.call('ZADD', KEYS[1], expiry, ARGV[1])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return { us, '1' }
