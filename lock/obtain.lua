-- obtain.lua takes a lease if nobody has it, and draws its fencing number. Who has it with the same token takes it again:
-- go-redis repeats a command whose answer it has lost.
--
-- KEYS[1]  the lease
-- KEYS[2]  the last number drawn; absent: no number is wanted
-- ARGV[1]  our token
-- ARGV[2]  life of the lease, in milliseconds
-- ARGV[3]  how long KEYS[2] is kept, in milliseconds
-- returns  the number, or 0 without KEYS[2]; nil if another has the lease (and then nothing is written)
--
-- The number is the server's clock in microseconds, so it grows also when KEYS[2] was evicted; or one more than the last,
-- so it grows also when the clock was set back. Microseconds since 1970 fit a Lua number (2^53) until the year 2255.

-- The write comes first: a Redis that takes none says so, and not that another has the lease. A read-only Redis 6.0 would
-- show one that has long ended.
if not redis.call("set", KEYS[1], ARGV[1], "px", ARGV[2], "nx") then
  if redis.call("get", KEYS[1]) ~= ARGV[1] then
    return false
  end
  redis.call("pexpire", KEYS[1], ARGV[2])
end
if not KEYS[2] then
  return 0
end

local now = redis.call("time")
local fence = tonumber(now[1]) * 1000000 + tonumber(now[2])
local last = redis.pcall("get", KEYS[2])
last = type(last) == "string" and tonumber(last) or 0
if last >= 9007199254740992 then -- 2^53: none of ours, and one more would be the same
  last = 0
end
if last >= fence then
  fence = last + 1
end
-- %.0f: tostring would give 1.7e+15.
redis.call("set", KEYS[2], string.format("%.0f", fence), "px", ARGV[3])
return fence
