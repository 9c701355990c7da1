-- renew.lua gives a lease a new life, if it is still ours.
--
-- KEYS[1]  the lease
-- ARGV[1]  our token
-- ARGV[2]  its life, in milliseconds
-- returns  1 if the lease is ours; 0 if not (and then nothing is done)

local holder = redis.pcall("get", KEYS[1])
if type(holder) == "table" and not string.find(holder.err, "WRONGTYPE", 1, true) then
  return holder -- refused: nobody knows whose it is
end
if holder ~= ARGV[1] then
  return 0
end
return redis.call("pexpire", KEYS[1], ARGV[2])
