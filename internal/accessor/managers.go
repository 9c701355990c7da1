package accessor

import (
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
	"weak"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// manager is what this package knows of one of MSAL's in-memory caches (storage.Manager): what was handed to it,
// so that the accessor can tell what MSAL changed, and whether it is still right.
//
// MSAL calls Replace with its mutex read- or write-locked and Export with it write-locked, so no Replace of the
// same client runs beside an Export; Replaces of different partitions do run beside each other.
type manager struct {
	address uintptr
	object  weak.Pointer[byte] // the manager itself: not kept alive by us, and told from a later one at its address

	view atomic.Pointer[view] // nil: what MSAL holds is not to be relied on

	mu       sync.Mutex
	tried    bool
	obo      bool            // it refuses to be unmarshalled: the manager of on-behalf-of tokens
	emptied  int64           // of those: at which of the emptyings
	inUse    map[string]*use // by MSAL's partition key
	document []msaldoc.Entry
	filled   time.Duration // when MSAL was last made to hold document and nothing else, since the Cache's start
	// marshalled is what MSAL last exported, as it came, while the document is still that.
	marshalled []byte
	client     string
	declared   declared
	unshared   unshared
	app        bool // it has had tokens of an app, and not users' alone
	crowded    sync.Once
}

// view is what a manager's document holds, for readers without a lock. It is never changed.
type view struct {
	spentAt time.Duration // since the Cache's start: when the first token in the document enters its last five minutes
	first   handed        // the partition whose caller brought the view about
	rest    map[string]handed
}

// handed is what a document holds of a partition.
type handed struct {
	*use
	spelling string
	snap     *record.Snapshot
}

// use is a partition in use on a manager.
type use struct {
	key string // folded
	// spelling is how MSAL asked for it last: folding it at every hit would cost an allocation. The manager's mutex guards it.
	spelling string
	p        *tokenstore.Record
	last     atomic.Int64 // when it was last asked for, since the Cache's start; accurate to lastEvery
	read     reading      // the manager's mutex guards it
}

// reading is what MSAL may read of a snapshot from a moment on until the first of its tokens is spent.
type reading struct {
	snap      *record.Snapshot
	shift     int64
	declared  declared
	gated     bool
	at, until time.Time
	entries   []msaldoc.Entry
	withheld  []msaldoc.Entry // what the manager may not have
	size      int
}

// using marks a partition as in use. The caller holds mu.
func (m *manager) using(x *use, now time.Duration) {
	m.inUse[x.key] = x
	x.last.Store(int64(now))
}

// lastEvery is how much later a use must be to be noted: a note is a write to memory that all processors read.
const lastEvery = 100 * time.Millisecond

// managers finds the knowledge that belongs to a manager by its address. Entries go when MSAL's client does.
type managers struct {
	latest atomic.Pointer[manager] // most processes have one client
	mu     sync.RWMutex
	known  map[uintptr]*manager
}

func newManagers() *managers {
	return &managers{known: map[uintptr]*manager{}}
}

// of is the knowledge of the manager behind MSAL's interface value. One that is no pointer has no identity: each
// call knows nothing of it.
func (ms *managers) of(object any) *manager {
	v := reflect.ValueOf(object)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return &manager{inUse: map[string]*use{}}
	}
	address := v.Pointer()
	m := ms.latest.Load()
	if m == nil || m.address != address {
		ms.mu.RLock()
		m = ms.known[address]
		ms.mu.RUnlock()
	}
	// An object at the address of one that is gone is another object: the weak pointer of the old one is nil.
	if m != nil && m.object.Value() != nil {
		return m
	}
	return ms.meet(object, v)
}

func (ms *managers) meet(object any, v reflect.Value) *manager {
	if v.Type().Elem().Size() == 0 {
		return &manager{inUse: map[string]*use{}}
	}
	address := v.Pointer()
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.known[address]; m != nil && m.object.Value() != nil {
		return m
	}
	first := (*byte)(unsafe.Pointer(v.Pointer())) //nolint:govet // v keeps the object where it is
	m := &manager{address: address, object: weak.Make(first), inUse: map[string]*use{}}
	ms.known[address] = m
	ms.latest.Store(m)
	runtime.AddCleanup(first, func(address uintptr) { ms.gone(address) }, address)
	runtime.KeepAlive(object)
	return m
}

func (ms *managers) gone(address uintptr) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.known[address]
	if m == nil || m.object.Value() != nil {
		return
	}
	delete(ms.known, address)
	ms.latest.CompareAndSwap(m, nil)
}

// current tells whether MSAL may read a partition from the manager as it is: no lock, no Redis, no JSON.
//
// The use is noted before the view is looked at again, and a hand-over withdraws the view before it reads the notes:
// so either it sees that the partition is in use and keeps it in the document, or this sees that the view is
// withdrawn.
func (m *manager) current(key string, now, age time.Duration) (*tokenstore.Record, bool) {
	v := m.view.Load()
	if v == nil || now >= v.spentAt {
		return nil, false
	}
	h := v.first
	if h.use == nil || h.spelling != key {
		var ok bool
		if h, ok = v.rest[key]; !ok {
			return nil, false
		}
	}
	known := h.p.Known()
	if known.Snapshot != h.snap || known.Checked == 0 || now-known.Checked >= age || h.p.Evicted() {
		return nil, false
	}
	if now-time.Duration(h.last.Load()) >= lastEvery {
		h.last.Store(int64(now))
		if m.view.Load() != v {
			return nil, false
		}
	}
	return h.p, true
}
