-- Writes entries of a partition. Different entries commute; of the same entry the newer stamp stays.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens
-- KEYS[2]  <prefix>:v1:{pid}:tombstone
-- ARGV[1]  the generation the writer knew when the tokens were asked for
-- ARGV[2]  "1": tokens of a sign-in, which no earlier sign-out concerns
--          "s": tokens of sessions, which no sign-out concerns that was asked for before their sessions; "0": others
-- ARGV[3]  sliding life in milliseconds of a user's record; "0": it lives as long as its last token
-- ARGV[4+] field, value, ... ; a value starts with 16 digits stamp and 10 digits expiry; "s" and 16 digits of its session may
--          follow (record.go)
--
-- Returns  { Redis time in microseconds, tombstone or "", version or -1 if a sign-out came between, version before,
--            1: all applied; 0: of one there is a newer one }
--
-- A stamp from the future (a Redis whose clock was once ahead) does not block writes: it counts as old.
-- What belongs to a session that began after the sign-out is stored too: a sign-out that was tried again has left that session.
-- Redis refuses a write on a full server unless the script has deleted first, so a field that is replaced is
-- deleted first: replacing a token takes no memory, and the old one would be the worse to keep.
local now = redis.call('TIME')
local seconds = tonumber(now[1])
local us = seconds * 1000000 + now[2]
local tombstone = redis.pcall('GET', KEYS[2])
if type(tombstone) ~= 'string' or #tombstone > 256 then tombstone = '' end -- none, or none of ours
local generation = tonumber(string.match(tombstone, '^%d+') or 0)
local since = us
for i = 5, #ARGV, 2 do
  local session = tonumber(string.match(string.sub(ARGV[i], 27, 43), '^s(%d+)$') or 0)
  if session > us + 5000000 then session = 0 end
  since = math.min(since, session)
end
if ARGV[2] ~= '1' and generation > tonumber(ARGV[1]) and (ARGV[2] ~= 's' or since < generation) then
  return { us, tombstone, -1, 0, 0 }
end

local all = redis.pcall('HGETALL', KEYS[1])
local size = 0
for i = 1, #all do size = size + #all[i] end
if all.err or size > 16777216 then -- of another type or size: load.lua takes it for none of ours
  redis.call('DEL', KEYS[1])
  all = {}
end

-- digits is a number in a value's head; 0 where there is none.
local function digits(value, from, to)
  return tonumber(string.match(string.sub(value, from, to), '^%d+$') or 0)
end

local before, last, held, gone = 0, 0, {}, {}
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if field == 'v' then
    before = tonumber(value) or 0
  else
    local expiry = digits(value, 17, 26)
    if expiry > 0 and expiry <= seconds then
      gone[#gone + 1] = field
    else
      held[field] = value
      if expiry > last then last = expiry end
    end
  end
end

local applied, write = 1, {}
for i = 4, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  local old = held[field]
  local stamp = old and digits(old, 1, 16)
  if stamp and stamp <= us + 5000000 and stamp >= digits(value, 1, 16) then
    applied = 0
  else
    if old then gone[#gone + 1] = field end
    write[#write + 1] = field
    write[#write + 1] = value
    local expiry = digits(value, 17, 26)
    if expiry > last then last = expiry end
  end
end

local version = before
if #write > 0 or #gone > 0 then
  version = math.max(before + 1, us)
end
if #gone > 0 then
  redis.call('HDEL', KEYS[1], 'v', unpack(gone))
end
if #write > 0 or next(held) then
  if version ~= before then
    redis.call('HSET', KEYS[1], 'v', string.format('%.0f', version), unpack(write))
  end
  if ARGV[3] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  else
    redis.call('EXPIREAT', KEYS[1], string.format('%.0f', math.max(last, seconds + 1)))
  end
end
return { us, tombstone, version, before, applied }
