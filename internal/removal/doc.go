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
// At the first try, T is Redis's time when the removal is carried out. At any later try, it is the time when the
// removal was asked for, so that a sign-in since then is kept.
//
// # Invariants
//
//   - A removal that was asked for is tried until it is made, as long as the process lives.
//   - The others are told after it was made.
//   - What is listed with a partition stays listed until it was removed itself, so that another try finds it.
//
// # Concurrency
//
// Everything is safe for concurrent use. There is no mutex here. One goroutine hears the others, from Listen on.
package removal
