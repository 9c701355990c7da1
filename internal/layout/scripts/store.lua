-- Writes entries of a partition. Different entries commute; of the same entry the newer stamp stays.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens
-- KEYS[2]  <prefix>:v1:{pid}:tombstone
-- ARGV[1]  the generation the writer knew when the tokens were asked for
-- ARGV[2]  "1": tokens of a sign-in, which no earlier sign-out concerns
-- ARGV[3]  sliding life in milliseconds of a user's record; "0": it lives as long as its last token
-- ARGV[4+] field, value, ... ; a value starts with 16 digits stamp and 10 digits expiry (record.go)
--
-- Returns  { Redis time in microseconds, version or "-1" if a sign-out came between, generation, version before,
--            "1" or "0" for each field: applied or not }
--
-- A stamp from the future (a Redis whose clock was once ahead) does not block writes: it counts as old.
-- Redis refuses a write on a full server unless the script has deleted first, so a field that is replaced is
-- deleted first: replacing a token takes no memory, and the old one would be the worse to keep.
local now = redis.call('TIME')
local seconds = tonumber(now[1])
local us = seconds * 1000000 + tonumber(now[2])
local generation = string.match(redis.call('GET', KEYS[2]) or '', '^%d+') or '0'
if ARGV[2] ~= '1' and tonumber(generation) > tonumber(ARGV[1]) then
  return { string.format('%.0f', us), '-1', generation, '0' }
end

local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
end

local function stamp(value)
  local digits = value and string.match(string.sub(value, 1, 16), '^%d+$')
  if not digits or #digits ~= 16 then return 0 end
  local n = tonumber(digits)
  if n > us + 5000000 then return 0 end
  return n
end

local function expiry(value)
  local digits = string.match(string.sub(value, 17, 26), '^%d+$')
  return digits and tonumber(digits) or 0
end

local last, held, gone = 0, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if field ~= 'v' then
    local e = expiry(value)
    if e > 0 and e <= seconds then
      gone[#gone + 1] = field
    else
      held[field] = value
      if e > last then last = e end
    end
  end
end

local applied = {}
for i = 4, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  if held[field] and stamp(held[field]) >= stamp(value) then
    applied[#applied + 1] = '0'
  else
    applied[#applied + 1] = '1'
    if held[field] then gone[#gone + 1] = field end
  end
end

local before = 0
for i = 1, #all, 2 do
  if all[i] == 'v' then before = tonumber(all[i + 1]) or 0 end
end
if #gone > 0 then
  redis.call('HDEL', KEYS[1], 'v', unpack(gone))
end

local wrote = false
for i = 4, #ARGV, 2 do
  if applied[(i - 4) / 2 + 1] == '1' then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    local e = expiry(ARGV[i + 1])
    if e > last then last = e end
    wrote = true
  end
end

local version = before
if wrote or #gone > 0 then
  version = math.max(before + 1, us)
end
if redis.call('EXISTS', KEYS[1]) == 1 or wrote then
  redis.call('HSET', KEYS[1], 'v', string.format('%.0f', version))
  local life = tonumber(ARGV[3])
  if life > 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  else
    redis.call('EXPIREAT', KEYS[1], string.format('%.0f', math.max(last, seconds + 1)))
  end
end

local answer = { string.format('%.0f', us), string.format('%.0f', version), generation, string.format('%.0f', before) }
for i = 1, #applied do answer[#answer + 1] = applied[i] end
return answer
