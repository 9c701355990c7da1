-- Keeps the answer to a request identity, unless a newer one is there or it was forgotten meanwhile.
--
-- KEYS[1]  <prefix>:v1:{rid}:response, or :pause
-- KEYS[2]  <prefix>:v1:{rid}:tombstone  STRING: when it was last forgotten, in microseconds of Redis time
-- KEYS[3]  <prefix>:v1:{rid}:pause      the pause that a good answer ends
-- ARGV[1]  when the request started, in microseconds of Redis time
-- ARGV[2]  the value; starts with its stamp, 16 digits (record.go)
-- ARGV[3]  its life in milliseconds
--
-- Returns  { Redis time in microseconds, "1" kept, "0" a newer one is there, "-1" forgotten }
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local time = string.format('%.0f', us)
local tombstone = redis.pcall('GET', KEYS[2]) -- of another type: none
if type(tombstone) == 'string' and (tonumber(tombstone) or 0) > tonumber(ARGV[1]) then
  return { time, '-1' }
end
if KEYS[3] ~= KEYS[1] then
  redis.call('DEL', KEYS[3])
end
local held = redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1])
if held then
  local digits = string.match(string.sub(held, 1, 16), '^%d+$')
  local stamp = digits and tonumber(digits) or 0
  if stamp <= us + 5000000 and stamp > tonumber(string.sub(ARGV[2], 1, 16)) then
    return { time, '0' }
  end
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return { time, '1' }
