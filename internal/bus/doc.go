// Package bus is the one subscription connection of a process: what Redis publishes on any number of channels, handed
// to whoever subscribed to them.
//
// It owns that connection. It is made at the first subscription and not before, and ends some time after the last one
// has.
//
// # Invariants
//
//   - One connection per [Bus], whatever the number of channels and subscribers. A channel is subscribed once, for as
//     long as somebody wants it.
//   - Who subscribes, waits for [Subscription.Ready] and then looks misses nothing that is published afterwards without
//     being told: **every confirmation of a channel is told to all its subscribers** as messages that may have been
//     missed. go-redis subscribes anew on each new connection, so that a connection that was lost is told when the next
//     one hears again, and the first one when Redis, away at the start, has come.
//   - The same rule covers a last subscriber that leaves while another comes. Subscribe, unsubscribe and subscribe are
//     under way, and the first confirmation makes the newcomer look too early, before the unsubscription takes effect;
//     the second one makes it look again.
//   - No receiver holds up another, nor the connection: what does not fit its bound is dropped, and it is told that it
//     missed something.
//   - No goroutine and no connection is left when Close has returned, which takes about one handshake with a Redis that
//     hangs.
//
// # Concurrency
//
// Two goroutines do the work: flush makes what is subscribed what is wanted, and ends; read hands out what arrives for
// as long as there is a connection. Subscribers change only what is wanted and never touch the connection, because
// every method of go-redis's PubSub takes a mutex that is held while it dials.
//
// Bus.mu guards whether it is closed, the connection, the channels, and what each Subscription has not taken yet. Under
// it only the mutex of workers.Group is taken, and that of a PubSub that nobody dials. No function of a caller is
// called.
package bus
