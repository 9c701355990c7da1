// Package msaldoc is MSAL Go's cache document: its entries and their keys, and what MSAL does with them. It is the one
// place that mimics MSAL.
//
// MSAL hands its cache out as one JSON document, sections of named entries, and takes one in its place. [Parse] makes
// entries of a document, [Diff] says which of them changed, and [Assemble] makes a document of entries from anywhere.
//
// # What it promises
//
//   - Nothing is lost: members unknown to this version come out as they went in.
//   - No entry can spoil a document: MSAL refuses the whole of one in which a single time is null, so what MSAL would
//     choke on is repaired or left out when an entry is read, not when it is too late.
//   - Of what [Readable] leaves, any token that MSAL's look-up finds is one that serves, and none serves the same for
//     longer.
//   - What [Assemble] makes, MSAL reads, and what MSAL then writes does not differ.
//   - Printing an [Entry], and every error, says nothing of what is in it.
//
// # Where MSAL's behaviour is to be found
//
// It is that of MSAL Go v1.10.1, below apps/internal; after an update of MSAL these are what to compare. Tests hold
// this package to the real thing where they can.
//
//	base/storage/items.go, json/          what is read, refused, kept and written (msal.go); LastMinutes
//	base/storage/storage.go               the look-up (superseded.go, readable.go), Write (issued.go), renamed keys,
//	                                      RemoveAccount, which refresh token a client takes (keys.go), app metadata
//	oauth/ops/authority/authority.go      an app's partition key; capabilities in claims
//	oauth/ops/accesstokens/accesstokens.go   the scopes that are added to every request (scopes.go)
//
// # Who may do what
//
// It is pure: it does no I/O, it starts no goroutine, holds no lock, and knows the time as an argument. An Entry is
// never changed in place, so that any number of goroutines may share it.
package msaldoc
