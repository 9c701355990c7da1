package accessor

import (
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
)

// replaceOnBehalfOf is Replace for the manager of on-behalf-of tokens; false: m is another. That manager is left alone
// but for emptying it (see issued.OnBehalfOf). The gate shares its tokens.
func (a *Accessor) replaceOnBehalfOf(m *manager, u cache.Unmarshaler, key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	emptyings := a.o.OnBehalfOf.Emptyings()
	if !m.seen {
		m.onBehalfOf = !m.takeOver(u)
		m.seen, m.emptiedAt = true, emptyings
	}
	if !m.onBehalfOf {
		return false
	}
	if emptyings = a.o.OnBehalfOf.Used(key); m.emptiedAt != emptyings {
		if err := u.Unmarshal(nil); err != nil {
			a.o.Log.Warn("on-behalf-of tokens in MSAL's memory could not be emptied")
		}
		m.emptiedAt = emptyings
	}
	return true
}

// takeOver takes note of what a manager holds when it is met for the first time, and hands it back to it. False: it
// refuses. So does the manager of on-behalf-of tokens, which cannot read what it has marshalled; a refusal changes
// nothing. What the other manager holds stays with it (see unshared.adopt).
//
// Marshal of the manager of on-behalf-of tokens takes no lock, and does not need one here: MSAL calls Replace with its
// mutex locked, and writes to a manager only with that mutex write-locked. Later it is not called any more.
//
// The caller holds m.mu.
func (m *manager) takeOver(u cache.Unmarshaler) bool {
	if marshaler, ok := u.(cache.Marshaler); ok {
		if data, err := marshaler.Marshal(); err == nil && u.Unmarshal(data) == nil {
			if held, err := msaldoc.Parse(data); err == nil {
				held = msaldoc.WithKeysFolded(held)
				unknown, _ := msaldoc.Diff(m.document, held)
				m.unshared.adopt(unknown)
				m.document = held
				return true
			}
		}
	}
	m.document, m.marshalled = nil, nil
	return u.Unmarshal([]byte("{}")) == nil
}
