-- Forgets the answer to a request identity: answers to requests that started before now are not kept.
--
-- KEYS[1]  <prefix>:v1:{rid}:response
-- KEYS[2]  <prefix>:v1:{rid}:tombstone
-- KEYS[3]  <prefix>:v1:{rid}:pause
-- ARGV[1]  the tombstone's life in milliseconds
--
-- Returns  { Redis time in microseconds }
local now = redis.call('TIME')
local us = string.format('%.0f', now[1] * 1000000 + now[2])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('SET', KEYS[2], us, 'PX', ARGV[1])
return { us }
