// Package redisop is how Redis is asked: within a time, within our share of the application's pool, and not at all
// while Redis is known to be away.
//
// It owns the bounded client, the slots, the breaker with its probe, the taking of leases, which use the same slots,
// and the bus, on which the ends of leases are heard as well as what its callers subscribe to. What is asked is its
// callers' ([Redis.Run] a script, [Redis.Do] anything else).
//
// # Invariants
//
//   - An operation's time counts from when it is sent. Before that it queues, first come, first served: waiting in our
//     own queue, or for a connection that the application uses, is not Redis being away.
//   - No more operations are in flight than half of the pool's size, leases and the probe included.
//   - The first operation that finds Redis away opens the breaker. All that queues ends then, and nobody waits, until a
//     probe has found Redis back: on a new connection, since all those of the pool may be dead. One probe runs at a
//     time.
//   - An operation that was begun is carried out although its caller has left, and its answer is taken in.
//
// # Concurrency
//
// Everything is safe for concurrent use. Breaker.mu guards whether it is open and the context that ends when it opens;
// nothing is called under it. freshConnection.mu makes one goroutine at a time ask on a new connection. It is held
// until Redis has answered on it or the time for that is up, and the application's dialer and credentials provider are
// called meanwhile. Breaker.mu may be taken under it.
package redisop
