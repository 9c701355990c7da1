// Package lock is a lease in Redis: for a while, one holder among all processes.
//
//	locker := lock.New(rdb, nil)
//	defer locker.Close()
//
//	lease, err := locker.Acquire(ctx, "msal:v1:{id}:lock")
//	if err != nil { ... }
//	defer lease.Release(ctx)
//	err = refresh(lease.Context())
//
// # What it is for
//
// For work that is wasteful to do twice, not for work that is wrong to do twice. A lease in Redis cannot be more: a key
// may be evicted, a failover may lose the last writes, and a process that is stopped for longer than the lease lives
// goes on believing that it has it until it looks. Where the second writer must not win, hand [Lease.Fence] to what is
// written to, and let it refuse a number smaller than the last it saw.
//
// # What is promised
//
//   - One holder at a time, while Redis keeps the key and the holder heeds [Lease.Context].
//   - The owner's token is compared on renewal and release: nobody frees another's lease.
//   - A held lease is renewed; one that is lost says so, by its Context, before another can have it (of processes that
//     run, clocks that run evenly and keys that are not evicted).
//   - A holder that was killed costs the others TTL at most.
//   - Fences grow, from holder to holder, also when the keys were evicted.
//   - Waiters are woken by the release. A lost wake-up costs about PollInterval.
//   - An attempt that ended in an error leaves no lease behind, beyond TTL.
//   - Every call is bounded: by its context, by OpTimeout, or both. Busy ([ErrHeld]), lost ([ErrLost]) and broken (any
//     other) are three different errors.
//   - No goroutine outlives [Locker.Close].
//
// Not promised: an order among waiters; a second lease for who has one already; anything about a hash slot that has no
// server.
//
// # In Redis
//
// Of a key with a hash tag, "msal:v1:{id}:lock", the fence is at msal:v1:{id}:fence and the wake-up on the channel
// msal:v1:{id}:wake (the suffix ":lock" is replaced if it is there). Of a key without one, "job", they are {job}:fence
// and {job}:wake: so lease and fence share a cluster slot. A key that holds a '}' but no hash tag is refused.
//
// The user needs, on those keys and channels: EVALSHA, EVAL, GET, SET, DEL, PEXPIRE, PTTL, TIME, PUBLISH, SUBSCRIBE,
// UNSUBSCRIBE, PING. Without leave to publish or to subscribe it works, by polling.
package lock
