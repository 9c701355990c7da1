-- remaining.lua tells how long the present lease has left. A script, because a plain PTTL may be answered by a replica.
--
-- KEYS[1]  the lease
-- returns  milliseconds; -2 if there is no lease; -1 if the key never expires (it is not a lease of ours)

return redis.call("pttl", KEYS[1])
