// Package issued is what this process knows of the tokens that it has seen Entra ID issue.
//
// It owns three memories, none of which holds a token: secrets are known by their hashes.
//
//	Tokens      where a token comes from, between the gate, which sees its request, and MSAL's Export, which stores it
//	Lineages    where a refresh token comes from: an account, an assertion, or another such token
//	OnBehalfOf  which on-behalf-of tokens MSAL has in its own memory, so that a sign-out can have them emptied
//
// # Invariants
//
//   - A token is noted before MSAL has it, so that Export finds it however soon it comes.
//   - Not to know a token is no error. All three forget the oldest when they are full, and the caller then goes on as
//     if there were no gate.
//
// # Concurrency
//
// Everything is safe for concurrent use. Tokens and Lineages are each a [bounded.Recent], which guards itself.
// OnBehalfOf.mu guards its maps; the store's knowledge of removals is read under it, whose mutex is the last that is
// taken. How often MSAL's memory had to be emptied is atomic.
package issued
