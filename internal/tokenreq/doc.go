// Package tokenreq understands a request to a token endpoint: which kind it is, what of it may be shared, and with
// whom.
//
// [ReadForm] reads the form of a request, and [Understand] says what it is. A [Kind] is a value, and one table says of
// each where its answer is looked for and kept, for how long it serves others, and what may stand in its place
// ([Policy]).
//
// # Invariants
//
//   - An answer belongs to a request that is equal in everything that is not known to be without meaning. What is not
//     known, a parameter, a header or a claim, makes another [Request.ID]; a request that proves itself where this
//     package does not look, or that says a thing twice, is [Untouched] or a [SignIn], which get their own answers.
//   - Where a refresh token comes from ([Lineage]) decides in whose place it stands, never what it asks for.
//   - A secret is in no value that outlives the request but by its hash.
//
// # What it does not do
//
// It is pure: beyond reading a request's body it does no I/O, it starts no goroutine, keeps nothing, and knows the time
// as an argument. Nothing in it has a lock. Which refresh tokens have been seen, and which names a tenant has, is its
// caller's to remember.
package tokenreq
