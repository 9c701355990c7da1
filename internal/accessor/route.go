package accessor

import (
	"slices"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// batch is what an Export writes to one record.
type batch struct {
	tokenstore.Batch
	session redistime.Time // the latest that its tokens are known to belong to; 0: none
	began   time.Duration  // when that was issued, since the Cache's start; 0: not by this process
	signIn  bool           // of a sign-in that did not pass the gate
	ended   bool           // some of its tokens are left out: their account has signed out since they were asked for
}

// routed are the changed entries of an Export, sorted by where they belong.
type routed struct {
	batches  []batch
	unshared []msaldoc.Entry // they stay with their manager
	refused  bool            // some belong nowhere
}

// route sorts changed entries into partitions by their own fields.
//
// MSAL's key is a hint, wrong at times: an on-behalf-of token's arrival exports the other manager under the assertion's key. A user's
// sign-in or refresh that was answered without id_token and client_info has no home_account_id. It names no user, so
// it is not shared: a sign-out could not find it, and under the app's key it would become the app's token for the whole
// fleet.
//
// The caller holds m.mu.
func (a *Accessor) route(m *manager, changed []msaldoc.Entry, hint string) (r routed) {
	at := map[string]int{}
	add := func(key string, e msaldoc.Entry) {
		i, ok := at[key]
		if !ok {
			i = len(r.batches)
			at[key] = i
			r.batches = append(r.batches, batch{Batch: tokenstore.Batch{Record: a.record(key)}})
		}
		r.refused = !r.batches[i].add(a, m, e, hint) || r.refused
	}
	var metadata []msaldoc.Entry
	for _, e := range changed {
		e = e.Clone() // as MSAL gave it, it keeps the whole document alive
		switch {
		case e.Section == msaldoc.SectionAppMetadata:
			metadata = append(metadata, e)
		case e.HomeAccountID != "" && msaldoc.IsAppKey(hint) && msaldoc.ReadByMSAL(e.Section):
			// An app's request that was answered with a user's token.
			r.unshared = append(r.unshared, e)
		case e.KeyBound():
			r.unshared = append(r.unshared, e)
		case e.HomeAccountID != "":
			add(e.HomeAccountID, e)
		case e.Section == msaldoc.SectionAccessToken && strings.EqualFold(hint, e.AppKey()):
			add(hint, e)
		case msaldoc.ReadByMSAL(e.Section):
			if hint != "" && e.Section == msaldoc.SectionAccessToken && !a.o.OnBehalfOf.Has(hint) {
				a.unknownKey()
			}
			r.unshared = append(r.unshared, e)
		default:
			r.refused = true
		}
	}
	for _, e := range metadata {
		if msaldoc.IsPlainMetadata(e) {
			continue
		}
		for i := range r.batches {
			if r.batches[i].User {
				r.batches[i].Entries = append(r.batches[i].Entries, record.New(e, a.o.Clock.Now(), 0))
			}
		}
	}
	for i := range r.batches {
		r.batches[i].complete(a, m)
	}
	// Of a sign-in that has ended, the account alone would be left.
	r.batches = slices.DeleteFunc(r.batches, func(b batch) bool { return b.ended && !slices.ContainsFunc(b.Entries, isToken) })
	return r
}

// add adds an entry to the batch; false: what it is of has been removed since it was asked for.
func (b *batch) add(a *Accessor, m *manager, e msaldoc.Entry, hint string) bool {
	stamp, session, began := a.o.Clock.Now(), redistime.Time(0), time.Duration(0)
	if o, ok := a.o.Tokens.Of(e.Secret); ok {
		if a.o.Tokens.Ended(o) {
			b.ended = true
			return false
		}
		stamp, session, began = o.Stamp, a.o.Tokens.Session(o), o.Began
	} else if e.Section == msaldoc.SectionRefreshToken && m.signsIn(e, hint) {
		b.signIn = true
	}
	if session > b.session {
		b.session, b.began = session, began
	}
	if shift := a.o.Clock.Shift(); shift != 0 {
		e = e.WithTimes(shift)
	}
	if e.Section == msaldoc.SectionAccessToken {
		e.Capabilities, e.Asked = a.askedFor(m, e)
	}
	x := record.New(e, stamp, session)
	x.Began = began
	b.Entries = append(b.Entries, x)
	return true
}

// complete gives the entries that did not pass the gate a session: that of the others, that of the refresh token which MSAL was given
// last, or, of a sign-in and where nothing is known, a new one. So without the gate no sign-in is lost, and a refresh that races a
// sign-out may come back. The account is none of one sign-in alone, and goes with the latest.
func (b *batch) complete(a *Accessor, m *manager) {
	if b.session == 0 && b.User && !b.signIn {
		for _, s := range []*record.Snapshot{m.given(b.Record), b.Known().Snapshot} {
			if s == nil || b.session > 0 {
				continue
			}
			for _, e := range s.Entries {
				if e.Section == msaldoc.SectionRefreshToken {
					b.session = max(b.session, e.Session)
				}
			}
		}
	}
	if b.session == 0 {
		b.session, b.began = a.o.Store.Asked(a.o.Clock.Now()), a.elapsed()
	}
	for i := range b.Entries {
		if b.Entries[i].Session == 0 {
			b.Entries[i].Session, b.Entries[i].Began = b.session, b.began
		}
	}
}

// given is what MSAL was last given of a record; nil: nothing. The caller holds m.mu.
func (m *manager) given(r *tokenstore.Record) *record.Snapshot {
	for _, x := range m.inUse {
		if x.p.ID == r.ID {
			return x.read.snap
		}
	}
	return nil
}

// signsIn tells whether a refresh token that did not pass the gate came of a sign-in: under "" MSAL stores nothing else, and with no
// refresh token in hand it refreshes nothing. A refresh whose user signed out while it was under way looks the same: it is not told
// from a sign-in where the gate is not used. Where it is, and in a document that MSAL did not read before, nothing is taken for a
// sign-in. The caller holds m.mu.
func (m *manager) signsIn(rt msaldoc.Entry, hint string) bool {
	if !m.tried || m.declared.sure {
		return false
	}
	return hint == "" || !slices.ContainsFunc(m.document, func(e msaldoc.Entry) bool {
		return e.HomeAccountID == rt.HomeAccountID && e.RefreshesFor(rt.ClientID)
	})
}

// unknownKey tells that MSAL has stored a token that names no user under a key that is neither an app's nor an assertion's. So would
// an app's be if MSAL changed the form of its key.
func (a *Accessor) unknownKey() {
	a.o.Metrics.Wrote(telemetry.OfUnknownKey)
	a.unknownKeys.Do(func() {
		a.o.Log.Warn("a token that names no user came under a key that is not an app's, and is not shared; is MSAL too new?")
	})
}
