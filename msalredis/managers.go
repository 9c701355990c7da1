package msalredis

import (
	"hash/maphash"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
	"weak"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// manager is what this package knows of one of MSAL's in-memory caches (storage.Manager): what was handed to it,
// so that the accessor can tell what MSAL changed, and whether it is still right.
//
// MSAL calls Replace with its mutex read- or write-locked and Export with it write-locked, so no Replace of the
// same client runs beside an Export; Replaces of different partitions do run beside each other.
type manager struct {
	object weak.Pointer[byte] // the manager itself: not kept alive by us, and told from a later one at its address

	mu       sync.RWMutex
	tried    bool
	obo      bool // it refuses to be unmarshalled: the manager of on-behalf-of tokens
	oboKeys  map[uint64]struct{}
	inUse    map[string]*use // by MSAL's partition key
	document []serializer.Entry
	dirty    bool  // the document must be handed over anew before MSAL reads it
	spentAt  int64 // ours, nanoseconds: when the first token in the document enters its last five minutes
	client   string
}

// use is a partition in use on a manager.
type use struct {
	key    string
	p      *partition
	handed *snapshot // what the document holds of it
	last   atomic.Int64
}

// managers finds the knowledge that belongs to a manager by its address. Entries go when MSAL's client does.
type managers struct {
	mu    sync.RWMutex
	known map[uintptr]*manager
	seed  maphash.Seed
}

func newManagers() *managers {
	return &managers{known: map[uintptr]*manager{}, seed: maphash.MakeSeed()}
}

// of is the knowledge of the manager behind MSAL's interface value. One that is no pointer has no identity: each
// call knows nothing of it.
func (ms *managers) of(object any) *manager {
	v := reflect.ValueOf(object)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Type().Elem().Size() == 0 {
		return &manager{inUse: map[string]*use{}}
	}
	address := v.Pointer()
	ms.mu.RLock()
	m := ms.known[address]
	ms.mu.RUnlock()
	// An object at the address of one that is gone is another object: the weak pointer of the old one is nil.
	if m != nil && m.object.Value() != nil {
		return m
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.known[address]; m != nil && m.object.Value() != nil {
		return m
	}
	first := (*byte)(unsafe.Pointer(v.Pointer())) //nolint:govet // v keeps the object where it is
	m = &manager{object: weak.Make(first), inUse: map[string]*use{}}
	ms.known[address] = m
	runtime.AddCleanup(first, func(address uintptr) { ms.gone(address) }, address)
	runtime.KeepAlive(object)
	return m
}

func (ms *managers) gone(address uintptr) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.known[address]; m != nil && m.object.Value() == nil {
		delete(ms.known, address)
	}
}

// current tells whether MSAL may read a partition from the manager as it is: no Redis, no JSON.
func (m *manager) current(key string, now time.Time, age time.Duration) (*partition, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	u := m.inUse[key]
	if u == nil || m.dirty || now.UnixNano() >= m.spentAt || u.p.evicted.Load() {
		return nil, false
	}
	if u.p.snap.Load() != u.handed || !u.p.fresh(now, age) {
		return nil, false
	}
	u.last.Store(now.UnixNano())
	return u.p, true
}
