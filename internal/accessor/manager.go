package accessor

import (
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// manager is what this process knows of one of MSAL's in-memory caches (storage.Manager): what was handed to it, so
// that Export can tell what MSAL has changed, and whether that is still right.
type manager struct {
	address uintptr
	ofMSAL  bool               // not an application's own, which imports what it has
	object  weak.Pointer[byte] // MSAL's manager: not kept alive by this, and told from a later one at its address

	view atomic.Pointer[view] // nil: what MSAL holds is not to be relied on

	mu         sync.Mutex // guards what follows
	seen       bool       // takeOver was called
	onBehalfOf bool       // it refuses to be unmarshalled: the manager of on-behalf-of tokens
	emptiedAt  int64      // of on-behalf-of tokens: at which of the emptyings
	inUse      map[string]*partition
	document   []msaldoc.Entry
	filledAt   time.Duration // when MSAL was last made to hold document and nothing else, since the process's start
	marshalled []byte        // document as MSAL exported it; nil: it has changed since
	clientID   string
	declared   capabilities
	unshared   unshared
	servesApps bool // it has had tokens of an app, and not users' alone

	crowdedTold sync.Once
}

func newManager() *manager { return &manager{inUse: map[string]*partition{}} }

// markInUse marks the partition that MSAL calls key, folded, as in use on m.
func (a *Accessor) markInUse(m *manager, key string, r *tokenstore.Record) *partition {
	now := a.elapsed()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.inUse[key]
	if p == nil || p.record != r {
		p = &partition{key: key, spelling: key, record: r}
	}
	m.putInUse(p, now)
	return p
}

// putInUse marks a partition as in use now. The caller holds m.mu.
func (m *manager) putInUse(p *partition, now time.Duration) {
	m.inUse[p.key] = p
	p.lastUsed.Store(int64(now))
}
