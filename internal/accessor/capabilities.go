package accessor

import (
	"cmp"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
)

// A client may declare capabilities. Then its tokens live long, and a resource may refuse one at any moment with a
// challenge, which a client that has not declared them cannot answer. So an access token is given only to clients that
// declare the same as the client that it was issued to. MSAL declares in each token request, which the gate sees; the
// accessor sees neither. What is said here of capabilities is as in [msaldoc.Entry].

// capabilities are what a manager's client has declared.
type capabilities struct {
	text    string // "": not known yet
	certain bool   // the gate has seen it
}

// mayHave tells which access tokens of a partition a manager may be given. The caller holds m.mu.
//
// While its client's capabilities are not known, a manager is not given what passed the gate: MSAL then asks the gate,
// whose answer costs no request and makes them known. Where MSAL could not ask, or would get no shared answer (claims
// of the client's own look like a challenge), or no gate is in use, it is given what was asked for without
// capabilities.
func (a *Accessor) mayHave(m *manager, s *record.Snapshot) func(record.Entry) bool {
	declared := m.declared
	return func(e record.Entry) bool {
		switch {
		case declared.text != "":
			return e.Serves(declared.text) || !declared.certain && e.Capabilities == ""
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

// learnCapabilities learns a client's capabilities from the access tokens that it has brought, and tells whether more
// is known of them than before. The caller holds m.mu.
//
// A manager is of one client. A token that did not pass the gate says less of them, but MSAL must not be kept from what
// it has stored itself. Once the gate has seen the client they are certain, though the gate forgets tokens.
func (a *Accessor) learnCapabilities(m *manager, changed []msaldoc.Entry) bool {
	before := m.declared
	for _, e := range changed {
		if e.Section != msaldoc.SectionAccessToken || e.Secret == "" || e.ExtCacheKey != "" || m.declared.certain {
			continue
		}
		if o, ok := a.o.Tokens.Of(e.Secret); ok {
			m.declared = capabilities{o.Capabilities, true}
		} else if text := msaldoc.SelfDeclared(e.Secret); text != "" || m.declared.text == "" {
			m.declared = capabilities{text: cmp.Or(text, msaldoc.NoCapabilities)}
		}
	}
	return m.declared != before
}

// askedWith is with what capabilities, and for what (see [msaldoc.Entry]), a manager's token was asked for. The caller
// holds m.mu.
func (a *Accessor) askedWith(m *manager, e msaldoc.Entry) (declared, asked string) {
	if o, ok := a.o.Tokens.Of(e.Secret); ok {
		return o.Capabilities, string(o.Asked)
	}
	if m.declared.certain {
		return m.declared.text, ""
	}
	return msaldoc.SelfDeclared(e.Secret), ""
}
