package tokenstore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Record is the process's one holder of what is known of a partition, shared by every MSAL manager that uses it.
type Record struct {
	ID   ID
	User bool // an account's: its life slides, and it is restored; false: an app's tokens

	known   atomic.Pointer[Known]
	evicted atomic.Bool
	// expected is when a write was last expected, since the process's start; 0: never.
	expected atomic.Int64
	// doubted is until when the change log does not vouch for it, since the process's start.
	doubted atomic.Int64

	asking sync.Mutex                        // orders questions
	asked  atomic.Pointer[redisop.Operation] // the question that is under way and shared; nil: none is

	mu    sync.Mutex
	state record.State
	waits int64 // what waits of it, as pending has counted it, whose mutex it is under
}

// Known is what is known of a record, for readers without a lock. It is never changed.
type Known struct {
	*record.Snapshot               // nil: nothing
	Checked          time.Duration // when Redis last confirmed it, since the process's start; 0: look before relying on it
}

var nothing Known

// Known is what is known now.
func (r *Record) Known() *Known {
	if k := r.known.Load(); k != nil {
		return k
	}
	return &nothing
}

// Evicted tells whether another holder may have taken its place.
func (r *Record) Evicted() bool { return r.evicted.Load() }

// ExpectWrite notes that this process was given a token of it and is about to store it. MSAL reads once more before it
// does, and what is there makes no difference to the write.
func (r *Record) ExpectWrite(now time.Duration) { r.expected.Store(int64(now)) }

// expectedFor is longer than MSAL takes from a token request's answer to its write.
const expectedFor = time.Second

// AsOf is the time of what is known of it, by the clock of the Redis that has it.
func (r *Record) AsOf() redistime.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.AsOf()
}

// Removed is all that is known to be removed of it.
func (r *Record) Removed() layout.Tombstone {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Removed()
}

// Latest is the latest session of what is known of it, up to a time of Redis.
func (r *Record) Latest(until redistime.Time) redistime.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Latest(until)
}

// Apply changes what is known. Nothing else does.
func (r *Record) Apply(e record.Event) record.Effects {
	r.mu.Lock()
	defer r.mu.Unlock()
	effects := r.state.Apply(e)
	r.publish()
	return effects
}

// publish shows readers what is known. The caller holds mu.
func (r *Record) publish() {
	if k := r.Known(); k.Snapshot != r.state.Snapshot() || k.Checked != r.state.Checked() {
		r.known.Store(&Known{r.state.Snapshot(), r.state.Checked()})
	}
}

// Put takes in a later refresh_on of tokens that the record has. It stays in this process.
func (r *Record) Put(same []record.Entry) {
	if len(same) > 0 {
		r.Apply(record.Put{Same: same})
	}
}

// Of is the holder of a partition. user: it is an account's.
func (st *Store) Of(pid ID, user bool) *Record {
	if r, ok := st.records.GetIfPresent(pid); ok {
		return r
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if r, ok := st.records.GetIfPresent(pid); ok {
		return r
	}
	if r := st.pending.holder(pid); r != nil {
		r.evicted.Store(false)
		st.records.Set(pid, r)
		r.doubt(max(st.elapsed(), st.log.doubtOf(pid))) // nobody has told it meanwhile what the change log announced
		return r
	}
	r := &Record{ID: pid, User: user}
	if user {
		r.state.Life = st.o.UserTTL
	}
	if removed := st.removals.of(pid); removed.known.Latest() > 0 {
		r.Apply(record.Heard{Removed: removed.known})
	}
	st.records.Set(pid, r)
	r.doubt(st.log.doubtOf(pid)) // after it can be found: a reading of the log puts in doubt whom it finds
	return r
}

// Peek is the holder of a partition if there is one.
func (st *Store) Peek(pid ID) *Record {
	r, _ := st.records.GetIfPresent(pid)
	return r
}

// weigh tells the bounded cache that a holder's size has changed, if it is there still.
func (st *Store) weigh(r *Record) {
	st.records.ComputeIfPresent(r.ID, func(held *Record) (*Record, otter.ComputeOp) {
		if held != r {
			return nil, otter.CancelOp
		}
		return r, otter.WriteOp
	})
}
