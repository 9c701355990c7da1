-- Reads what is known of a request identity.
--
-- KEYS[1]  <prefix>:v1:{rid}:response
-- KEYS[2]  <prefix>:v1:{rid}:pause
--
-- Returns  { Redis time in microseconds, response or "", pause or "" }
local now = redis.call('TIME')
local answer = { string.format('%.0f', now[1] * 1000000 + now[2]), '', '' }
for i = 1, 2 do
  if redis.call('TYPE', KEYS[i]).ok == 'string' then
    answer[i + 1] = redis.call('GET', KEYS[i])
  end
end
return answer
