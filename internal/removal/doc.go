// Package removal signs accounts out and forgets apps' tokens, on every instance.
//
// A removal is one ordered fact: what belongs to X and was asked for before T is gone. X is an account, or an app's
// tokens in a tenant, or those of them that cover some scopes. Facts merge by the latest T, so that one may come late,
// twice or in any order.
//
//	forget here   what this process holds of X is gone before anything else is done
//	keep          the removal waits to be made, until it is: Redis may refuse it, or the caller leave
//	carry out     Redis deletes what is of before T, leaves T in a tombstone, and says what was answered with X's tokens
//	go on         answers, and further partitions of an app, are removed likewise
//	tell          the other instances, which forget what is of before T; who does not hear it finds the tombstone
//
// T is Redis's time when it is carried out, at the first try; that of asking, at any other: a sign-in since then is not
// concerned.
//
// # Invariants
//
//   - A removal that was asked for is made, as long as the process lives.
//   - It is told after it was made, and what is listed with a partition stays listed until it was removed: who tries
//     again finds it.
//
// # Concurrency
//
// Everything is safe for concurrent use. There is no mutex here. One goroutine hears the others, from Listen on.
package removal
