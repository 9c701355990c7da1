-- fence.lua draws the next fencing number of a lease, if the lease is still ours.
--
-- KEYS[1]  the lease
-- KEYS[2]  the last number drawn
-- ARGV[1]  our token
-- ARGV[2]  how long KEYS[2] is kept, in milliseconds
-- returns  the number; 0 if the lease is not ours (and then nothing is written)
--
-- The number is the server's clock in microseconds, so it grows also when KEYS[2] was evicted; or one more than the last,
-- so it grows also when the clock was set back. Microseconds since 1970 fit a Lua number (2^53) until the year 2255.

if redis.call("get", KEYS[1]) ~= ARGV[1] then
  return 0
end

local now = redis.call("time")
local fence = tonumber(now[1]) * 1000000 + tonumber(now[2])
local last = redis.pcall("get", KEYS[2])
last = type(last) == "string" and tonumber(last) or 0 -- none, or none of ours
if last >= fence then
  fence = last + 1
end

-- Deleted first: a full Redis refuses a script whose first write needs memory.
-- %.0f: tostring would give 1.7e+15.
redis.call("del", KEYS[2])
redis.call("set", KEYS[2], string.format("%.0f", fence), "px", ARGV[2])
return fence
