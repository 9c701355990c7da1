package accessor

import (
	"slices"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// unshared are the entries of a manager that no other process may have, and no other manager of this one: bound to a
// key that the application holds, of a sign-in whose answer names nobody, or of before the manager was met. They are in
// no partition and never in Redis, but in every document that the manager is handed, as MSAL would have kept them
// without this package. Who calls their methods holds the manager's mutex.
type unshared struct {
	entries []unsharedEntry // the oldest first
	size    int
}

type unsharedEntry struct {
	msaldoc.Entry
	partition    string         // the partition key under which MSAL looks for it
	account      id             // the partition of its account; "": it has none
	accountKnown bool           // that partition held something when the entry came
	asked        redistime.Time // when it was asked for, at the earliest
	ofApp        bool           // an app's, of before the manager was met
}

// unsharedBytesAtMost bounds them: each that is dropped costs a token request.
const unsharedBytesAtMost = 4 << 20

// keep takes in entries that MSAL has brought. One replaces another in the same place, or whose requests it all serves.
func (us *unshared) keep(a *Accessor, entries []msaldoc.Entry, hint string) {
	for _, e := range entries {
		kept := unsharedEntry{Entry: e, partition: e.HomeAccountID, asked: a.o.Store.Asked(a.o.Clock.Now())}
		if o, ok := a.o.Tokens.Of(e.Secret); ok {
			kept.asked = a.o.Tokens.Session(o)
		}
		if e.HomeAccountID != "" {
			kept.account = layout.PartitionID(e.HomeAccountID)
			kept.accountKnown = !a.record(e.HomeAccountID).Known().Empty()
		} else if e.KeyBound() {
			kept.partition = strings.Clone(hint)
		}
		us.remove([]msaldoc.Entry{e})
		us.entries = append(us.entries, kept)
	}
	us.trim()
}

// adopt takes in what a manager held when it was met. MSAL calls Replace before it writes, so the application has put
// an accessor of its own between, which began to use the Cache later: Redis was away at the start, or sharing was off.
//
// It is not stored for others: nobody can tell how old it is, and so whether it is of before a sign-out, or a refresh,
// that the fleet knows of. Any known sign-out of its account ends it (asked is 0), and so does a removal of the app's
// tokens; what the fleet has replaces it. What its refresh tokens bring is shared as all tokens are.
func (us *unshared) adopt(entries []msaldoc.Entry) {
	// A user's access token that names nobody looks like an app's. Other tokens come with it.
	unnamedUser := slices.ContainsFunc(entries, func(e msaldoc.Entry) bool {
		return e.HomeAccountID == "" && (e.Section == msaldoc.SectionRefreshToken || e.Section == msaldoc.SectionIDToken)
	})
	for _, e := range entries {
		if !msaldoc.ReadByMSAL(e.Section) {
			continue
		}
		e = e.Clone() // as MSAL gave it, it keeps the whole document alive
		held := unsharedEntry{Entry: e, partition: e.HomeAccountID}
		if held.partition == "" && e.Section == msaldoc.SectionAccessToken {
			held.partition, held.ofApp = e.AppKey(), !unnamedUser
		}
		if held.partition != "" {
			held.account = layout.PartitionID(held.partition)
		}
		us.entries = append(us.entries, held)
	}
	us.trim()
}

// trim drops what is superseded, and the oldest of what is too much.
func (us *unshared) trim() {
	all := make([]msaldoc.Entry, len(us.entries))
	for i, e := range us.entries {
		all[i] = e.Entry
	}
	gone := msaldoc.Superseded(all)
	kept := us.entries[:0]
	us.size = 0
	for i, e := range us.entries {
		if !gone[i] {
			kept = append(kept, e)
			us.size += len(e.Raw)
		}
	}
	clear(us.entries[len(kept):])
	us.entries = kept
	for us.size > unsharedBytesAtMost {
		us.size -= len(us.entries[0].Raw)
		us.entries = slices.Delete(us.entries, 0, 1)
	}
}

// remove drops entries that MSAL has removed or replaced, or that the fleet has.
func (us *unshared) remove(entries []msaldoc.Entry) {
	if len(us.entries) == 0 || len(entries) == 0 {
		return
	}
	gone := make(map[msaldoc.Place]bool, len(entries))
	for _, e := range entries {
		gone[e.Place()] = true
	}
	us.removeFunc(func(e unsharedEntry) bool { return gone[e.Place()] })
}

// accountsOf are the account entries among them that an Export is of: the accounts of what has changed, and of its key.
// MSAL's write has left them as they were. Without them others would have the tokens and could not list the account.
func (us *unshared) accountsOf(changed []msaldoc.Entry, key string) []msaldoc.Entry {
	var out []msaldoc.Entry
	for _, held := range us.entries {
		if held.Section != msaldoc.SectionAccount || held.HomeAccountID == "" {
			continue
		}
		of := func(e msaldoc.Entry) bool { return strings.EqualFold(e.HomeAccountID, held.HomeAccountID) }
		same := func(e msaldoc.Entry) bool { return e.Place() == held.Place() }
		concerned := strings.EqualFold(key, held.HomeAccountID) || slices.ContainsFunc(changed, of)
		if concerned && !slices.ContainsFunc(changed, same) {
			out = append(out, held.Entry)
		}
	}
	return out
}

func (us *unshared) removeFunc(gone func(unsharedEntry) bool) {
	us.entries = slices.DeleteFunc(us.entries, func(e unsharedEntry) bool {
		if gone(e) {
			us.size -= len(e.Raw)
			return true
		}
		return false
	})
}

// readable are those that MSAL may read now: not spent, and of accounts that are signed in. Where the manager has had
// tokens of an app (servesApps), what names nobody stays out: MSAL would take a user's token that names nobody for the
// app's. A client of users alone is as with plain MSAL, whose own tests read such a token as an app's.
func (us *unshared) readable(a *Accessor, now time.Time, servesApps bool) []msaldoc.Entry {
	us.removeFunc(func(e unsharedEntry) bool {
		return e.Spent(now) || e.account != "" && a.signedOutSince(e)
	})
	var out []msaldoc.Entry
	for _, e := range us.entries {
		if servesApps && e.namesNobody() {
			continue
		}
		out = append(out, e.Entry)
	}
	return out
}

// namesNobody tells whether an entry is a user's whom nothing names.
func (e unsharedEntry) namesNobody() bool {
	return e.HomeAccountID == "" && !e.ofApp && !e.KeyBound() && e.Section != msaldoc.SectionAppMetadata
}

// anyNamesNobody tells whether any of them names nobody.
func (us *unshared) anyNamesNobody() bool {
	return slices.ContainsFunc(us.entries, unsharedEntry.namesNobody)
}

// signedOutSince tells whether an entry's account has signed out since the entry was asked for, or is gone from Redis.
func (a *Accessor) signedOutSince(e unsharedEntry) bool {
	scopes := func() string { return layout.HashScopes(msaldoc.ScopesOf(e.Target)) }
	if a.o.Store.Removed(e.account).Ends(e.asked, scopes) {
		return true
	}
	r := a.o.Store.Peek(e.account)
	if r == nil {
		return false // MSAL asks for the account before it reads: then it is known
	}
	known := r.Known()
	return e.accountKnown && known.Empty() && known.Checked != 0
}

// has tells whether there are any that MSAL looks for under a partition key.
func (us *unshared) has(key string) bool {
	return slices.ContainsFunc(us.entries, func(e unsharedEntry) bool { return e.partition == key })
}
