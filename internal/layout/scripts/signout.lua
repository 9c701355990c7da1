-- Removes a partition, or some of its fields, and leaves a tombstone: a generation that is newer than any before.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens
-- KEYS[2]  <prefix>:v1:{pid}:tombstone  STRING: "generation operation"
-- KEYS[3]  <prefix>:v1:{pid}:rids       ZSET: what was answered with this partition's tokens; left to the caller
-- KEYS[4]  <prefix>:v1:{pid}:fence
-- ARGV[1]  the tombstone's life in milliseconds
-- ARGV[2]  a name of this operation: done a second time, because its answer was lost, it does nothing, or it would
--          remove a sign-in that came between. A name "process.number" is done too when a later one of that process is:
--          it was long on its way
-- ARGV[3]  "1": the whole partition; "0": only the fields that follow
--          "T" and a time of Redis, in microseconds: what belongs to a session that began before it;
--          "F" and such a time: the whole partition, or that if it comes 15 seconds late or more
-- ARGV[4+] fields
--
-- Returns  { Redis time in microseconds, generation, how many entries are left of later sessions, member of rids, ... }
--
-- A removal of what began before T is one that may come late, after another sign-in. What it leaves is newer than the tombstone,
-- whose generation is T, or a later one that is there already. An entry without a session has begun at some time before.
--
-- It deletes before it writes, so that a full Redis can sign out too.
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local tombstone = redis.pcall('GET', KEYS[2])
if type(tombstone) ~= 'string' then tombstone = '' end -- none, or of another type
local generation = tonumber(string.match(tombstone, '^%d+') or '0')
local last = string.match(tombstone, ' (.*)$')
local done = last == ARGV[2]
if last and not done then
  local process, number = string.match(ARGV[2], '^(.*)%.(%d+)$')
  local by, count = string.match(last, '^(.*)%.(%d+)$')
  done = process and process == by and tonumber(number) < tonumber(count)
end
local whole = ARGV[3] == '1'
local asOf = tonumber(string.match(ARGV[3], '^T(%d+)$') or 0)
local asked = tonumber(string.match(ARGV[3], '^F(%d+)$') or 0)
if asked > 0 and us > asked + 15000000 then
  asOf = asked
elseif asked > 0 then
  whole = true
end
local latest, left = 0, 0
if done and (whole or asOf > 0) and redis.call('TYPE', KEYS[1]).ok == 'hash' then
  left = redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], 'v') -- of who has signed in since
end
if not done and (whole or asOf > 0) and redis.call('TYPE', KEYS[1]).ok == 'hash' then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local session = tonumber(string.match(string.sub(all[i + 1], 27, 43), '^s(%d+)$') or 0)
    if session > us + 5000000 then session = 0 end -- of a Redis whose clock was once ahead
    latest = math.max(latest, session)
    if all[i] == 'v' then
      -- below
    elseif asOf > 0 and session >= asOf then
      left = left + 1
    elseif asOf > 0 then
      redis.call('HDEL', KEYS[1], all[i])
    end
  end
end
if not done then
  if left > 0 then
    local before = tonumber(redis.call('HGET', KEYS[1], 'v') or '0') or 0
    redis.call('HDEL', KEYS[1], 'v')
    redis.call('HSET', KEYS[1], 'v', string.format('%.0f', math.max(before + 1, us)))
  elseif whole or asOf > 0 then
    redis.call('DEL', KEYS[1], KEYS[4])
  elseif redis.call('TYPE', KEYS[1]).ok == 'hash' then
    for i = 4, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
    local before = tonumber(redis.call('HGET', KEYS[1], 'v') or '0') or 0
    redis.call('HDEL', KEYS[1], 'v')
    if redis.call('HLEN', KEYS[1]) > 0 then
      redis.call('HSET', KEYS[1], 'v', string.format('%.0f', math.max(before + 1, us)))
    end
  end
  if asOf > 0 then
    generation = math.max(generation, asOf)
  else
    generation = math.max(generation + 1, us, latest + 1)
  end
  redis.call('DEL', KEYS[2])
  redis.call('SET', KEYS[2], string.format('%.0f', generation) .. ' ' .. ARGV[2], 'PX', ARGV[1])
end
local answer = { string.format('%.0f', us), string.format('%.0f', generation), string.format('%.0f', left) }
if redis.call('TYPE', KEYS[3]).ok == 'zset' then
  local members = redis.call('ZRANGE', KEYS[3], 0, 4095)
  for i = 1, #members do
    if #members[i] <= 256 then answer[#answer + 1] = members[i] end
  end
end
return answer
