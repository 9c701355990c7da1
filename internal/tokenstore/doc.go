// Package tokenstore is what this process knows of records and of removals, what Redis has, and what waits to be
// written.
//
// It owns the reading, writing, restoring and removing of partitions in Redis (scripts load, store, discard, signout,
// enlist, forget, announce, heed), the memory for them, and the writes that Redis has not taken. What a record's
// knowledge is, and how it changes, is package record's: a [Record] is its one holder in the process, and Record.Apply
// the one writer.
//
// # Invariants
//
//   - A process has one Record for a partition. One that was evicted tells so: who still holds it must ask for the new
//     one.
//   - A removal that this process knows of ([Store.Removed]) holds wherever it is asked for: in records, in what waits,
//     in a write that is on its way, and for answers and sign-ins, whose owners ask here.
//   - What Redis has confirmed longer than LocalTTL ago is not relied on ([Store.Confirmed]): each record in use is
//     asked about or, of apps, vouched for by the change log.
//   - A write that Redis has not taken is kept, within LocalBytes, and pushed until it is taken. A removal is always
//     kept.
//   - An operation whose caller has left goes on; its outcome is taken in by whoever sees it.
//
// # Concurrency
//
// Everything is safe for concurrent use. Store.mu guards the making of Records, pending.mu what waits, changeLog.mu its
// position and doubts, Record.mu what is known of a record, Record.asking the last question that is shared. Removals
// are in a [bounded.Recent], which guards itself; what is read at every hit is atomic.
//
// Order of locks: Store.mu, then pending.mu or changeLog.mu, then Record.mu. Under Record.mu nothing is called but
// package record and the bounded cache. Under pending.mu the log is written, once, and the pusher is started, which
// takes the mutex of its workers.Group.
package tokenstore
