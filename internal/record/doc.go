// Package record is what a process knows of a record: of a partition of MSAL's tokens as it stands in Redis.
//
// It is pure: it does no I/O, reads no clock and starts no goroutine. A [State] changes in [State.Apply] alone, by an
// [Event] that says what has happened: Redis has answered a look, a write has begun, was taken, was refused or has
// failed, something was removed here or elsewhere. Apply says what is to be done about it ([Effects]); who holds the
// State does it.
//
// # Invariants
//
//   - A [Snapshot] is never changed; a change makes another.
//   - Nothing is in a Snapshot, or waits to be written, that a removal which is known has ended: [layout.Tombstone]
//     decides, and what is known of removals only grows.
//   - Of one field the entry of the later session stays, and of one session that with the newer stamp, in whatever
//     order they come.
//   - What Redis has not taken yet stands above what is read from it.
//   - Of two answers of Redis the one of the later time counts, whichever arrives first.
//   - What Redis has lost is restored only where it had confirmed it within the life of a tombstone, and within the
//     record's own.
//
// # Concurrency
//
// None: who holds a State guards it. A Snapshot may be read by anybody.
package record
