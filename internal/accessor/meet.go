package accessor

import (
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
)

// isOBO tells whether m is the manager of on-behalf-of tokens. That one is left alone but for emptying it (see issued.OnBehalfOf). The gate
// shares its tokens.
func (a *Accessor) isOBO(m *manager, u cache.Unmarshaler, key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	epoch := a.o.OnBehalfOf.Emptyings()
	if !m.tried {
		m.obo = !m.meet(u)
		m.tried, m.emptied = true, epoch
	}
	if !m.obo {
		return false
	}
	if epoch = a.o.OnBehalfOf.Used(key); m.emptied != epoch {
		if err := u.Unmarshal(nil); err != nil {
			a.o.Log.Warn("on-behalf-of tokens in MSAL's memory could not be emptied")
		}
		m.emptied = epoch
	}
	return true
}

// meet finds out which of MSAL's managers is met for the first time, by handing it what it holds: that of on-behalf-of tokens cannot
// read back what it marshals, and a refusal changes nothing. What the other one holds stays with it (see adopt).
//
// Marshal of the manager of on-behalf-of tokens takes no lock, and does not need one here: MSAL calls Replace with its mutex locked,
// and writes to a manager only with that mutex write-locked. Later it is not called any more.
//
// The caller holds m.mu.
func (m *manager) meet(u cache.Unmarshaler) bool {
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
