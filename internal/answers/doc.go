// Package answers is what the fleet knows of token requests by their identity: the answers that it shares, and the
// pauses after failures and refusals.
//
// It owns what this process has seen of each identity, in a bounded memory, which serves while Redis is away, and for
// LocalTTL after Redis has confirmed it; the two keys of an identity in Redis, one for the answer and one for the
// pause; and the lists by which a removal finds the answers of a partition. What has been brought for a user's record
// is package tokenstore's.
//
//	Recall     what this process has, where Redis has confirmed it lately
//	Look       what Redis has, with what it has not taken yet above it; what this process has seen, while Redis is away
//	Keep       an answer for its token's life, a failure or refusal as a pause; what Redis does not take waits
//	EndPause   Entra ID answers again
//	Remove     an answer that is not to serve any more
//	Forget     a removal has ended what belongs to a partition
//	ListNames  of an app's tenant, so that a removal under one name finds what is kept under another
//
// # Invariants
//
//   - Nobody finds an answer that a removal has ended, whatever this process, Redis or a waiting write has of it.
//   - An answer is on the lists of its partitions before it is in Redis: a removal that comes between finds it. An
//     answer to a user's request that names no user, and that a sign-out could not find, is not kept.
//   - Of two answers the newer one stays, by the time of Redis at which they were asked for (layout.RespondScript).
//   - What speaks of this process alone ([tokenresp.Answer.Own]) stays in it, and is found only by who asks by the same
//     base transport. A refused credential is found by who has that credential, whosever refusal Redis has.
//   - An answer that cannot be read counts as missing.
//   - What serves without a look is what Redis had within LocalTTL, by the time at which it was asked; its removal by
//     this process, or one that this process has heard of, ends it at once. It is listed, so that a removal under any
//     name of the tenant that the request may be kept by finds it.
//
// # Concurrency
//
// Everything is safe for concurrent use. The bounded memory holds a mutex while one identity is changed, and under it,
// for a moment, the one that guards which identities are of a partition. Nobody else is asked under either. An [Answer]
// does not change once it was given to Keep.
package answers
