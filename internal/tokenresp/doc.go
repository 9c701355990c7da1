// Package tokenresp understands what a token endpoint says: whether it is a token and for how long, or a refusal, or
// trouble that passes and how long to wait; and it says the same to who asks later.
//
// An [Answer] is read from a response ([Read]) or from its stored form ([Decode]). [Answer.Judge] finds out what a good
// one is worth; [Answer.PauseAfter] for how long a bad one stands. [Answer.Response] is the answer for a caller, with
// the life that is left.
//
// # Invariants
//
//   - A good answer has one token with a life, and everyone who reads it reads the same: what MSAL could read otherwise
//     is not good.
//   - Nobody is told a later end than the token's own, and a token at its end is over.
//   - Of an answer that is handed on only times change, and every other byte stays. One that is not good is handed on
//     as it came.
//   - A pause is never longer than an hour, whatever a server asks for. An [Answer.Own] one says nothing of the
//     endpoint: what it asks for is not heeded.
//
// # Who may do what
//
// An Answer is its maker's until it is handed on. After that nobody changes it, and any number of goroutines may call
// what only reads: all but Judge, AddRefreshIn, NameUser and PauseAfter.
//
// It is pure: it does no I/O, it starts no goroutine, holds no lock, and knows the time as an argument: Redis's in
// microseconds, by which everything in Redis is dated, and this machine's where a server names a date. Pauses and
// reminders are spread by chance, so that instances that share nothing but the endpoint do not come back together.
package tokenresp
