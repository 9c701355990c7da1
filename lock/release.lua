-- release.lua gives a lease back, if it is still ours, and wakes those who wait for it.
--
-- KEYS[1]  the lease
-- ARGV[1]  our token
-- ARGV[2]  the channel to wake
-- returns  1 if the lease was ours; 0 if not (and then nothing is done)

if redis.call("get", KEYS[1]) ~= ARGV[1] then
  return 0
end

redis.call("del", KEYS[1])
-- pcall: a user without leave to publish has released all the same; the waiters find out by looking.
redis.pcall("publish", ARGV[2], "")
return 1
