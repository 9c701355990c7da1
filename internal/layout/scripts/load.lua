-- Reads a partition, unless the caller already holds its version.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens     HASH: "v" is the version, every other field an entry
-- KEYS[2]  <prefix>:v1:{pid}:tombstone  STRING: what was removed, as of when (tombstone.go); absent if nothing was
-- ARGV[1]  the version the caller holds, "" for none
-- ARGV[2]  sliding life in milliseconds; "0" leaves the record's life alone
--
-- Returns  { Redis time in microseconds, tombstone or "", { field, value, ... } }
--          with the version's own field alone where the version is the caller's; without any where there is no record.
--
-- A script rather than HGETALL, so that the answer carries Redis's clock, and so that replica routing
-- never answers with something stale: go-redis sends EVALSHA to the primary. What can be done by the caller is left
-- to it: a new process waits for this, and Lua is the larger part of that.
local now = redis.call('TIME')
local tombstone = redis.pcall('GET', KEYS[2])
if type(tombstone) ~= 'string' or #tombstone > 8192 then tombstone = '' end -- none, or none of ours
local fields
if ARGV[1] ~= '' and redis.pcall('HGET', KEYS[1], 'v') == ARGV[1] then
  fields = { 'v', ARGV[1] }
else
  -- pcall: a key of another type counts as none. Asking for the type first would cost a tenth of the script.
  fields = redis.pcall('HGETALL', KEYS[1])
  local size = 0
  for i = 1, #fields, 2 do
    local name, value = #fields[i], #fields[i + 1]
    size = size + name + value
    if name > 64 or value > 8388608 then size = math.huge end -- no entry of ours
  end
  if size > 33554432 then fields = {} end -- no record of ours; the next store replaces it
end
if ARGV[2] ~= '0' and fields[1] and redis.call('PTTL', KEYS[1]) < ARGV[2] * 0.99 then
  -- pcall: a read-only server refuses this write, and a read must not fail for it.
  redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
end
return { now[1] * 1000000 + now[2], tombstone, fields.err and {} or fields }
