-- Removes fields of a partition that hold what the caller found there and could not read, so that the store script, which keeps
-- the newer stamp, does not take their digits at their word.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens
-- ARGV     field, value, ...
--
-- Returns  { Redis time in microseconds }
local now = redis.call('TIME')
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return { string.format('%.0f', now[1] * 1000000 + now[2]) }
