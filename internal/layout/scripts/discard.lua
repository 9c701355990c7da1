-- Removes fields of a partition that hold what the caller found there: what cannot be read, so that the store script, which keeps
-- the newer, does not take its digits at their word; or tokens that were forgotten by their scopes.
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
local left = redis.call('HGETALL', KEYS[1])
if #left == 2 and left[1] == 'v' then
  redis.call('DEL', KEYS[1]) -- its version alone
end
return { string.format('%.0f', now[1] * 1000000 + now[2]) }
