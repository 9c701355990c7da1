package accessor

import (
	"slices"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// unshared are the entries of a manager that no other process may have and no other manager of this one: bound to a key that the
// application holds, of a sign-in whose answer names nobody, or of before the manager was met. They are in no partition and never in
// Redis, but in every document that the manager is handed, as MSAL would have kept them without this package. The manager's mutex is
// held by who calls their methods.
type unshared struct {
	entries []unsharedEntry // the oldest first
	size    int
}

type unsharedEntry struct {
	msaldoc.Entry
	partition string         // the partition key under which MSAL looks for it
	account   id             // the partition of its account; "": it has none
	asked     redistime.Time // when it was asked for, at the earliest
	held      bool           // that partition held something when it came
	app       bool           // an app's, of before the manager was met
}

// unsharedBytesMost bounds them: a refusal to keep the oldest costs a token request.
const unsharedBytesMost = 4 << 20

// keep takes entries in that MSAL has brought. One in the place of another, or that serves all its requests, takes its place.
func (us *unshared) keep(a *Accessor, entries []msaldoc.Entry, hint string) {
	for _, e := range entries {
		kept := unsharedEntry{Entry: e, partition: e.HomeAccountID, asked: a.o.Store.Asked(a.o.Clock.Now())}
		if o, ok := a.o.Tokens.Of(e.Secret); ok {
			kept.asked = a.o.Tokens.Session(o)
		}
		if e.HomeAccountID != "" {
			kept.account = layout.PartitionID(e.HomeAccountID)
			kept.held = !a.record(e.HomeAccountID).Known().Empty()
		} else if e.KeyBound() {
			kept.partition = strings.Clone(hint)
		}
		us.lose([]msaldoc.Entry{e})
		us.entries = append(us.entries, kept)
	}
	us.bound()
}

// adopt takes in what a manager held when it was met. MSAL calls Replace before it writes, so somebody else stood between: an accessor
// of the application's that uses the Cache only since, because Redis was away at its start or it has been switched on.
//
// It is not stored for others: nobody can tell how old it is, and so whether it is of before a sign-out, or a refresh, that the fleet
// knows of. Any sign-out of its account that is known ends it (asked is 0), and so does a removal of the app's tokens; what the fleet
// has takes its place. A refresh token among it brings tokens that are shared as all are.
func (us *unshared) adopt(entries []msaldoc.Entry) {
	// A user's access token that names nobody looks like an app's. Other tokens come with it.
	nobodys := slices.ContainsFunc(entries, func(e msaldoc.Entry) bool {
		return e.HomeAccountID == "" && (e.Section == msaldoc.SectionRefreshToken || e.Section == msaldoc.SectionIDToken)
	})
	for _, e := range entries {
		if !msaldoc.ReadByMSAL(e.Section) {
			continue
		}
		e = e.Clone() // as MSAL gave it, it keeps the whole document alive
		held := unsharedEntry{Entry: e, partition: e.HomeAccountID}
		if held.partition == "" && e.Section == msaldoc.SectionAccessToken {
			held.partition, held.app = e.AppKey(), !nobodys
		}
		if held.partition != "" {
			held.account = layout.PartitionID(held.partition)
		}
		us.entries = append(us.entries, held)
	}
	us.bound()
}

// bound drops what is superseded, and the oldest of what is too much.
func (us *unshared) bound() {
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
	for us.size > unsharedBytesMost {
		us.size -= len(us.entries[0].Raw)
		us.entries = slices.Delete(us.entries, 0, 1)
	}
}

// lose drops entries that MSAL has removed or replaced, or that the fleet has.
func (us *unshared) lose(entries []msaldoc.Entry) {
	if len(us.entries) == 0 || len(entries) == 0 {
		return
	}
	gone := make(map[msaldoc.Place]bool, len(entries))
	for _, e := range entries {
		gone[e.Place()] = true
	}
	us.drop(func(held unsharedEntry) bool { return gone[held.Place()] })
}

// accountsOf are those among them that an Export is of: the accounts of what has changed, and of its key. MSAL's write has left them
// as they were, and without them others would have the tokens and could not list the account.
func (us *unshared) accountsOf(changed []msaldoc.Entry, key string) []msaldoc.Entry {
	var out []msaldoc.Entry
	for _, held := range us.entries {
		if held.Section != msaldoc.SectionAccount || held.HomeAccountID == "" {
			continue
		}
		of := func(e msaldoc.Entry) bool { return strings.EqualFold(e.HomeAccountID, held.HomeAccountID) }
		same := func(e msaldoc.Entry) bool { return e.Place() == held.Place() }
		if (strings.EqualFold(key, held.HomeAccountID) || slices.ContainsFunc(changed, of)) && !slices.ContainsFunc(changed, same) {
			out = append(out, held.Entry)
		}
	}
	return out
}

func (us *unshared) drop(gone func(unsharedEntry) bool) {
	us.entries = slices.DeleteFunc(us.entries, func(e unsharedEntry) bool {
		if gone(e) {
			us.size -= len(e.Raw)
			return true
		}
		return false
	})
}

// readable are those that MSAL may read now: not spent, and of accounts that are signed in. app: the manager has had tokens of
// an app. Then what names nobody stays out, because MSAL would take a user's token that names nobody for the app's. A client of
// users alone is as with plain MSAL, whose own tests read such a token as an app's.
func (us *unshared) readable(a *Accessor, now time.Time, app bool) []msaldoc.Entry {
	us.drop(func(e unsharedEntry) bool {
		return e.Spent(now) || e.account != "" && a.signedOutSince(e)
	})
	var out []msaldoc.Entry
	for _, e := range us.entries {
		if app && e.nobodys() {
			continue
		}
		out = append(out, e.Entry)
	}
	return out
}

func (e unsharedEntry) nobodys() bool {
	return e.HomeAccountID == "" && !e.app && !e.KeyBound() && e.Section != msaldoc.SectionAppMetadata
}

// nobodys tells whether there are any that name nobody.
func (us *unshared) nobodys() bool { return slices.ContainsFunc(us.entries, unsharedEntry.nobodys) }

// signedOutSince tells whether an entry's account has signed out since the entry was asked for, or is gone from Redis.
func (a *Accessor) signedOutSince(e unsharedEntry) bool {
	if a.o.Store.Removed(e.account).Ends(e.asked, func() string { return layout.HashScopes(msaldoc.ScopesOf(e.Target)) }) {
		return true
	}
	r := a.o.Store.Peek(e.account)
	if r == nil {
		return false // MSAL asks for the account before it reads: then it is known
	}
	known := r.Known()
	return e.held && known.Empty() && known.Checked != 0
}

// of tells whether there are any that MSAL looks for under a partition key.
func (us *unshared) of(key string) bool {
	return slices.ContainsFunc(us.entries, func(e unsharedEntry) bool { return e.partition == key })
}
