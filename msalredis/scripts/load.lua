-- Reads a partition, unless the caller already holds its version.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens     HASH: "v" is the version, every other field an entry
-- KEYS[2]  <prefix>:v1:{pid}:tombstone  STRING: the generation of the last sign-out, absent if there was none
-- ARGV[1]  the version the caller holds, "" for none
-- ARGV[2]  sliding life in milliseconds; "0" leaves the record's life alone
--
-- Returns  { Redis time in microseconds, version ("0": no record), generation ("0": none), field, value, ... }
--          without fields where the version is the caller's.
--
-- A script rather than HGETALL, so that the answer carries Redis's clock, and so that replica routing
-- never answers with something stale: go-redis sends EVALSHA to the primary.
local now = redis.call('TIME')
local us = string.format('%.0f', now[1] * 1000000 + now[2])
local generation = string.match(redis.call('GET', KEYS[2]) or '', '^%d+') or '0'
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return { us, '0', generation }
end
local version = redis.call('HGET', KEYS[1], 'v') or '1'
local life = tonumber(ARGV[2])
if life > 0 and redis.call('PTTL', KEYS[1]) < life * 0.99 then
  -- pcall: a read-only server refuses this write, and a read must not fail for it.
  redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
end
if version == ARGV[1] then
  return { us, version, generation }
end
local answer = { us, version, generation }
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= 'v' then
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = all[i + 1]
  end
end
return answer
