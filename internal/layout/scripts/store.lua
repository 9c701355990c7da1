-- Writes entries of a partition. Different entries commute; of the same entry the one of the later session stays, and of one session
-- that with the newer stamp.
--
-- KEYS[1]  <prefix>:v1:{pid}:tokens
-- KEYS[2]  <prefix>:v1:{pid}:tombstone
-- ARGV[1]  the latest removal that the writer knows of, in microseconds of Redis time: none before it has removed what follows
-- ARGV[2]  sliding life in milliseconds of a user's record; "0": it lives as long as its last token
-- ARGV[3+] field, value, ... ; a value starts with 16 digits stamp, 10 digits expiry, "s" and 16 digits session (record.go)
--
-- Returns  { Redis time in microseconds, tombstone or "", version, version before, 1: all applied; 0: of one there is a newer one }
--          or with -1, T, 0 in the end where there is a removal as of T that the writer does not know of
--
-- A writer that does not know of a removal reads of it in the tombstone, leaves out what that has ended, and comes again, by that time:
-- whatever the tombstone says, it has been read. So what a removal ends is decided in one place, by who can read the tokens.
-- A stamp from the future (a Redis whose clock was once ahead) does not block writes: it counts as old.
-- Redis refuses a write on a full server unless the script has deleted first, so a field that is replaced is
-- deleted first: replacing a token takes no memory, and the old one would be the worse to keep.
local now = redis.call('TIME')
local seconds = tonumber(now[1])
local us = seconds * 1000000 + now[2]
local ahead = us + 5000000
local tombstone = redis.pcall('GET', KEYS[2])
if type(tombstone) ~= 'string' or #tombstone > 8192 then tombstone = '' end -- none, or none of ours
local removed = tonumber(string.match(tombstone, '^%d+') or 0)
if removed > tonumber(ARGV[1]) and removed <= ahead then
  return { us, tombstone, -1, removed, 0 }
end

-- head is the stamp and the expiry in a value's head, and its session: when its sign-in was asked for, or it itself. 0: there is none.
local function head(value)
  local stamp, expiry, session = string.match(string.sub(value, 1, 43), '^(%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d)(%d%d%d%d%d%d%d%d%d%d)s?(%d*)')
  stamp = tonumber(stamp or 0)
  if session and #session >= 16 and string.sub(value, 27, 27) == 's' then
    session = tonumber(string.sub(session, 1, 16))
  else
    session = stamp
  end
  return stamp, tonumber(expiry or 0), session
end

local before, last, gone = 0, 0, { 'v' } -- the version is replaced with them
local stamps, sessions = {}, {} -- of what is there, by field
local size = 0
local all = redis.pcall('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  size = size + #field + #value
  if #field > 64 or #value > 8388608 then size = math.huge end
  if field == 'v' then
    before = tonumber(value) or 0
  else
    local stamp, expiry, session = head(value)
    if expiry > 0 and expiry <= seconds then
      gone[#gone + 1] = field
    else
      stamps[field], sessions[field] = stamp, session
      if expiry > last then last = expiry end
    end
  end
end
if all.err or size > 33554432 then -- of another type or size: load.lua takes it for none of ours
  redis.call('DEL', KEYS[1])
  before, last, gone, stamps, sessions = 0, 0, { 'v' }, {}, {}
end

local applied, write = 1, { 'v', '' } -- the version comes first
for i = 3, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  local stamp, expiry, session = head(value)
  local was, of = stamps[field], sessions[field]
  -- What is there stays if it is newer than what is to be written, or the same.
  if was and was <= ahead and of <= ahead and (of > session or of == session and was >= stamp) then
    applied = 0
  else
    if was then gone[#gone + 1] = field end
    write[#write + 1] = field
    write[#write + 1] = value
    if expiry > last then last = expiry end
  end
end

local version = before
if #write > 2 or #gone > 1 then
  version = math.max(before + 1, us)
end
if #gone > 1 then
  for i = 1, #gone, 1000 do -- unpack has room for some 8,000
    redis.call('HDEL', KEYS[1], unpack(gone, i, math.min(i + 999, #gone)))
  end
end
if #write > 2 or next(stamps) then
  if version ~= before then
    write[2] = string.format('%.0f', version)
    for i = 1, #write, 2000 do
      redis.call('HSET', KEYS[1], unpack(write, i, math.min(i + 1999, #write)))
    end
  end
  if ARGV[2] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  else
    redis.call('EXPIREAT', KEYS[1], string.format('%.0f', math.max(last, seconds + 1)))
  end
end
return { us, tombstone, version, before, applied }
