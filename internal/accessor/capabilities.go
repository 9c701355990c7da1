package accessor

import (
	"cmp"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
)

// A resource may refuse a token of a client that has declared capabilities with a challenge, at any moment of its long life; who
// has not declared them cannot answer that. So an access token is for clients that declare what its own has declared. MSAL
// declares in each token request, which the gate sees; the accessor sees neither. What is said here of capabilities is as in
// [msaldoc.Entry].

// declared are the capabilities of a manager's client.
type declared struct {
	text string // "": not known yet
	sure bool   // the gate has seen it
}

// mayHave tells which access tokens of a partition a manager may be given. The caller holds m.mu.
//
// While its client's capabilities are not known it is not given what passed the gate: MSAL then asks the gate, whose answer
// costs no request and makes them known. Where MSAL could not ask, or would get no shared answer (claims of the client's own look
// like a challenge), or no gate is in use, it is given what was asked for without capabilities.
func (a *Accessor) mayHave(m *manager, s *record.Snapshot) func(record.Entry) bool {
	d := m.declared.text
	return func(e record.Entry) bool {
		switch {
		case d != "":
			return e.Serves(d) || !m.declared.sure && e.Capabilities == ""
		case e.Capabilities == msaldoc.NoCapabilities:
			return !a.o.Gated() || e.ExtCacheKey != "" || e.HomeAccountID != "" && !refreshes(s, e)
		}
		return e.Capabilities == ""
	}
}

// refreshes tells whether a snapshot has a refresh token with which MSAL would ask for an access token like e.
func refreshes(s *record.Snapshot, e record.Entry) bool {
	for _, rt := range s.Entries {
		if rt.HomeAccountID == e.HomeAccountID && rt.Secret != "" && rt.RefreshesFor(e.ClientID) {
			return true
		}
	}
	return false
}

// learn learns a client's capabilities from the access tokens that it has brought, and tells whether it knows better than before.
// The caller holds m.mu.
//
// A manager is of one client. A token that did not pass the gate says less, but MSAL must not be kept from what it has stored
// itself. Once the gate has seen the client they are certain, though the gate forgets tokens.
func (a *Accessor) learn(m *manager, changed []msaldoc.Entry) bool {
	before := m.declared
	for _, e := range changed {
		if e.Section != msaldoc.SectionAccessToken || e.Secret == "" || e.ExtCacheKey != "" || m.declared.sure {
			continue
		}
		if o, ok := a.o.Tokens.Of(e.Secret); ok {
			m.declared = declared{o.Capabilities, true}
		} else if text := msaldoc.SelfDeclared(e.Secret); text != "" || m.declared.text == "" {
			m.declared = declared{text: cmp.Or(text, msaldoc.NoCapabilities)}
		}
	}
	return m.declared != before
}

// askedFor is with what a manager's token was asked for, as its entry says it. The caller holds m.mu.
func (a *Accessor) askedFor(m *manager, e msaldoc.Entry) (capabilities, asked string) {
	if o, ok := a.o.Tokens.Of(e.Secret); ok {
		return o.Capabilities, string(o.Asked)
	}
	if m.declared.sure {
		return m.declared.text, ""
	}
	return msaldoc.SelfDeclared(e.Secret), ""
}
