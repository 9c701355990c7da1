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
// Everything is safe for concurrent use. Record.mu guards what is known of a record, Record.asking the last question
// that is shared, pending.mu what waits, changeLog.mu its position, Store.mu the making of Records. Order of locks:
// Store.mu before pending.mu and changeLog.mu before Record.mu; nothing is called under Record.mu but package record
// and the bounded cache.
package tokenstore
