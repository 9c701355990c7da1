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
    local value = redis.call('GET', KEYS[i])
    if #value <= 2097152 then answer[i + 1] = value end -- ours have half of it at most
  end
end
return answer
