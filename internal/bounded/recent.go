package bounded

import "sync"

// Recent is a memory that forgets the oldest when it is full: at least half as many as its bound, those that were
// written last, are there. A [Cache] goes by use. Where most are looked for as rarely as each other, as tokens are, it
// keeps what it is full of, and forgets what has come since. It is safe for concurrent use.
type Recent[K comparable, V any] struct {
	half int

	mu          sync.RWMutex
	now, before map[K]V // before was now until that was half of all
}

// NewRecent makes a Recent with a bound.
func NewRecent[K comparable, V any](atMost int) *Recent[K, V] {
	return &Recent[K, V]{half: atMost / 2, now: map[K]V{}}
}

// Of is what is known of a key; false: nothing is.
func (r *Recent[K, V]) Of(key K) (V, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.of(key)
}

func (r *Recent[K, V]) of(key K) (V, bool) {
	if value, ok := r.now[key]; ok {
		return value, true
	}
	value, ok := r.before[key]
	return value, ok
}

// Set writes what is known of a key.
func (r *Recent[K, V]) Set(key K, value V) { r.Change(key, func(V) V { return value }) }

// Change writes what f makes of what is known of a key. It calls f with its mutex locked.
func (r *Recent[K, V]) Change(key K, f func(old V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, _ := r.of(key)
	value := f(old)
	if len(r.now) >= r.half {
		r.before, r.now = r.now, map[K]V{}
	}
	r.now[key] = value
}
