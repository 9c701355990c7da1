-- Reads a partition, unless the caller already holds its version.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens     HASH: "v" is the version, every other field an entry
-- KEYS[2]  <prefix>:v1:{pid}:tombstone  STRING: the generation of the last sign-out, absent if there was none
-- ARGV[1]  the version the caller holds, "" for none
-- ARGV[2]  sliding life in milliseconds; "0" leaves the record's life alone
--
-- Returns  { Redis time in microseconds, version ("0": no record), generation ("0": none), { field, value, ... } }
--          without fields where the version is the caller's. The version's own field is among them.
--
-- A script rather than HGETALL, so that the answer carries Redis's clock, and so that replica routing
-- never answers with something stale: go-redis sends EVALSHA to the primary.
local now = redis.call('TIME')
local us = string.format('%.0f', now[1] * 1000000 + now[2])
local generation = string.match(redis.call('GET', KEYS[2]) or '', '^%d+') or '0'
-- pcall: a key of another type counts as none. Asking for the type first would cost a tenth of the script.
local version = redis.pcall('HGET', KEYS[1], 'v')
if type(version) == 'table' then
  return { us, '0', generation }
end
if not version then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return { us, '0', generation }
  end
  version = '1'
end
local life = tonumber(ARGV[2])
if life > 0 and redis.call('PTTL', KEYS[1]) < life * 0.99 then
  -- pcall: a read-only server refuses this write, and a read must not fail for it.
  redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
end
if version == ARGV[1] then
  return { us, version, generation }
end
return { us, version, generation, redis.call('HGETALL', KEYS[1]) }
