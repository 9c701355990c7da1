// Package removal explores a sign-out that is one ordered fact: what belongs to a user and began before T is gone.
// It visits every order of the steps of two or three instances, within the bounds of each space of spaces_test.go,
// and looks for one that breaks an invariant. internal/record, internal/tokenstore and internal/removal are
// built from these rules.
//
// # What is modelled
//
// One user, whose record has one field, up to three sign-ins and two sign-outs, refreshes with and without
// rotation under a lease that may end early, and an answer that is kept under a key of its own. Sign-outs that
// Redis refuses, whose answer is lost, or that are carried out after they were given up; looks whose answer is on
// its way; messages that are never heard; sign-ins that stay in MSAL's memory; an instance cut off, also for
// longer than a tombstone lives; loss of everything in Redis, eviction of the record or the tombstone; a killed
// instance; clocks that are wrong, and sessions ahead of Redis's clock. A space has a few of these, so that all
// orders can be visited: what is claimed is their union, not every mixture.
//
// Not modelled: several fields and clients of a record, accessor without gate, failover to a replica, a
// store that is carried out after it was given up, older versions, what a caller gets whose request was under way.
//
// Two times that Redis gives are different if one is asked for after the other was given.
//
// # The rules
//
// They are the constants of [Rules], with the number of the idea that they belong to:
//
//  1. An instance keeps the greatest T that it knows, also when it holds nothing.
//  2. A token counts if its session is not before T, wherever it is: held, waiting, arriving. An answer counts by
//     when it was asked for, and who reads one from Redis must read its owner's tombstone too: no script sees both
//     keys.
//  3. The session is Redis's time before the sign-in is sent. A refresh has that of the token that was sent.
//  4. T of a first try is the greatest of Redis's time in the script, one more than the session in the record and
//     those that the caller holds or gave. A try later than a window is as of its asking, and so is a retry. The
//     window ends before the caller gives up: it is the time-out less the clock's error.
//  5. Of one field the later (session, stamp) stays.
//  6. A store refuses what does not count, and drops only that.
//  7. A look learns T, and what it brings is held against what is known when its answer is processed. MSAL's
//     memory is emptied by force when T rises, and of what arrives after by requests that were under way. Tokens
//     that no Export told have the session that is known by their secret.
//  8. Looks and stores bring the known tombstone to Redis.
//  9. What is unconfirmed for a tombstone's life is neither served, restored nor pushed once Redis answers; a
//     refresh of it is as old, and is not kept if Redis has answered since it was sent. Tombstones outlive answers.
//  10. Sessions that a process gives grow, above every time and T that it knows.
//  11. T may be ahead of Redis's clock. So a tombstone also says when Redis took the last sign-out that is merged
//     into it (both by max), and a sign-in whose time was drawn from Redis not before that is stored with T as its
//     session.
//  12. T of a first try is also later than the tombstone that is there.
//
// An instance's own sign-out under way is held beside what it knows of the tombstone, not merged into it: its T is
// an estimate.
//
// # The invariants
//
// See the constants of invariants.go: an instance serves nothing that it knows to be removed; nothing comes back
// to Redis; a sign-out removes no later sign-in; in the end all agree, what was removed is gone, and what was not
// is there.
//
// # What no rule repairs
//
// Each is shown by TestWhatNoRuleRepairs: Redis's clock going back; a sign-out that Redis loses before the others
// have heard of it; an instance killed while its sign-out waits; what an instance had not stored when a
// tombstone's life has passed; and times that are estimates, which need the distance of their errors
// (Bounds.distance). A sign-in while the first try of a sign-out is under way may be before or after it, also
// where the caller of the sign-out has left before the time-out.
package removal
