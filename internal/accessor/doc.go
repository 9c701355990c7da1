// Package accessor is MSAL's cache accessor: Replace and Export.
//
// It owns what this process knows of the in-memory caches of MSAL's clients, which MSAL calls managers: what each was
// handed, what it may be given, and what it has that nobody else may have. It also owns the list of accounts in Redis.
// What is known of an account's or an app's tokens is package tokenstore's.
//
// Replace, before MSAL reads:
//
//	unchanged     what MSAL holds is what is known, and was confirmed lately: nothing is done, and no mutex taken
//	first met     a manager is handed what it holds; who refuses it has the on-behalf-of tokens, and is only emptied
//	load          the partition is brought up to date from Redis; under "", all accounts that are listed
//	select        of each partition in use, what is not spent and this client may have, and what the manager has alone
//	hand over     one document with all of it, where it differs from what MSAL holds
//
// Export, after MSAL has written:
//
//	pass by       under an assertion's key: MSAL has written to the manager of on-behalf-of tokens, and exports another
//	compare       the document with the one before: what is new, and which accounts are gone
//	route         each entry to a partition by its own fields, with the sign-in it is of; or to its manager alone
//	sign out      the accounts that are gone, on every instance
//	store         what its record does not have; what Redis does not take, the store keeps and writes later
//	list          accounts, under "", and the further partitions of an app
//
// # Invariants
//
//   - What MSAL holds of a partition is relied on only while it is exactly what is known of it ([view]).
//   - What was handed over stays in a manager's document while it fits: MSAL does not say when it has read.
//   - What a sign-out could not find, as it names no user and is no app's, stays with the manager that brought it, and
//     so does what is bound to a key that the application holds.
//   - An access token is given only to clients that declare the capabilities it was asked for with.
//   - Nothing is stored of a sign-in that is known to have ended, and MSAL loses it at the next Replace.
//   - Errors of Redis are not MSAL's, unless the application wants that (FailClosed). A list of accounts that is not
//     whole is an error all the same: to an application the others would be signed out.
//
// # Concurrency
//
// Everything is safe for concurrent use. MSAL holds a mutex of the client's around each call: read- or write-locked for
// Replace, write-locked for Export. So no Replace of a client runs beside an Export of it, Replaces run beside each
// other, and all who use a client wait while an Export does. MSAL releases it between Replace and its own read.
//
// manager.mu guards what is known of a manager, and is held while that is marshalled or unmarshalled. Two things are
// read without it: manager.view, which is replaced and never changed, and partition.lastUsed. Redis is not asked under
// it; the log is written under it. managers.mu guards which manager has which address.
//
// Order of locks: MSAL's around the call before manager.mu before MSAL's inside a manager, and before those of
// tokenstore and issued, which do not call back. managers.mu is held with no other.
package accessor
