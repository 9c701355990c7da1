-- Puts newly sealed values in the place of those that were read, and only there: a value that was replaced meanwhile is
-- newer, and stays.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens, or {rid}:response, or {rid}:pause
-- ARGV     field, value as it was read, value newly sealed, ...; the field of a STRING is ""
--
-- Returns  "1" or "0" for each field: replaced or not
--
-- A value's content and its stamp stay, so the partition's version stays too: what instances hold in memory is still
-- what stands here. The life of the key stays as well.
local answer = {}
for i = 1, #ARGV, 3 do
  local field, old, new = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local held
  if field == '' then
    held = redis.call('GET', KEYS[1])
  else
    held = redis.call('HGET', KEYS[1], field)
  end
  if held == old then
    if field == '' then
      redis.call('SET', KEYS[1], new, 'KEEPTTL')
    else
      redis.call('HSET', KEYS[1], field, new)
    end
    answer[#answer + 1] = '1'
  else
    answer[#answer + 1] = '0'
  end
end
return answer
