package accessor

import (
	"slices"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// batch is what an Export writes to one record.
type batch struct {
	tokenstore.Batch
	session redistime.Time // the latest that its tokens are known to belong to; 0: none
	began   time.Duration  // when that was issued, since the process's start; 0: not by this process
	signIn  bool           // of a sign-in that did not pass the gate
	ended   bool           // some of its tokens are left out: their account has signed out since they were asked for
}

// tellPastGate tells that MSAL has brought a token that did not pass the gate: its client has one half of the Cache.
func (a *Accessor) tellPastGate() {
	a.pastGateTold.Do(func() {
		a.o.Log.Warn("a token did not come through the gate, so instances ask for it at the same time; " +
			"make the MSAL client with NewConfidential or NewPublic of the Cache, or give it Cache.HTTPClient by WithHTTPClient")
	})
}

// add adds an entry to the batch. False: what it is of has been removed since it was asked for. The caller holds m.mu.
func (b *batch) add(a *Accessor, m *manager, e msaldoc.Entry, hint string) bool {
	stamp, session, began := a.o.Clock.Now(), redistime.Time(0), time.Duration(0)
	if o, ok := a.o.Tokens.Of(e.Secret); ok {
		if a.o.Tokens.Ended(o) {
			b.ended = true
			return false
		}
		stamp, session, began = o.Stamp, a.o.Tokens.Session(o), o.Began
	} else if e.Section == msaldoc.SectionRefreshToken && m.isSignIn(e, hint) {
		b.signIn = true
	}
	if session > b.session {
		b.session, b.began = session, began
	}
	if shift := a.o.Clock.Shift(); shift != 0 {
		e = e.WithTimes(shift)
	}
	if e.Section == msaldoc.SectionAccessToken {
		if m.ofMSAL && !a.o.Tokens.Passed(e.Secret) {
			a.tellPastGate()
		}
		e.Capabilities, e.Asked = a.askedWith(m, e)
	}
	x := record.New(e, stamp, session)
	x.Began = began
	b.Entries = append(b.Entries, x)
	return true
}

// fillSessions gives a session to the entries that did not pass the gate: that of the others; that of the refresh token
// which MSAL was given last; or, to those of a sign-in and where nothing is known, a new one. So without the gate no
// sign-in is lost, and a refresh that races a sign-out may come back. The account belongs to no single sign-in, and
// goes with the latest. The caller holds m.mu.
func (b *batch) fillSessions(a *Accessor, m *manager) {
	if b.session == 0 && b.User && !b.signIn {
		for _, s := range []*record.Snapshot{m.lastGiven(b.Record), b.Known().Snapshot} {
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

// lastGiven is what MSAL was last given of a record; nil: nothing. The caller holds m.mu.
func (m *manager) lastGiven(r *tokenstore.Record) *record.Snapshot {
	for _, p := range m.inUse {
		if p.record.ID == r.ID {
			return p.contents.snapshot
		}
	}
	return nil
}

// isSignIn tells whether a refresh token that did not pass the gate came of a sign-in: under "" MSAL stores nothing
// else, and with no refresh token in hand it refreshes nothing. A refresh whose user signed out while it was under way
// looks the same, and is taken for a sign-in. Where the gate is in use, and in a document that MSAL did not read
// before, nothing is. The caller holds m.mu.
func (m *manager) isSignIn(rt msaldoc.Entry, hint string) bool {
	if !m.seen || m.declared.certain {
		return false
	}
	return hint == "" || !slices.ContainsFunc(m.document, func(e msaldoc.Entry) bool {
		return e.HomeAccountID == rt.HomeAccountID && e.RefreshesFor(rt.ClientID)
	})
}
