package accessor

import (
	"time"

	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// view is what a manager's document holds, for readers without a lock. It is never changed.
type view struct {
	spentAt time.Duration // when the first of its tokens enters its last five minutes, since the process's start
	first   handedOver    // the partition whose caller brought the view about
	rest    map[string]handedOver
}

// handedOver is what a document holds of a partition.
type handedOver struct {
	*partition
	spelling string
	snapshot *record.Snapshot
}

// noteUseEvery is how much later a use must be to be noted: a note is a write to memory that all processors read.
const noteUseEvery = 100 * time.Millisecond

// current tells whether MSAL may read a partition from the manager as it is: no lock, no Redis, no JSON.
// confirmed is when Redis has last confirmed what is known of it.
//
// The use is noted before the view is looked at again, and a hand-over withdraws the view before it reads the notes:
// so either it sees that the partition is in use and keeps it in the document, or this sees that the view is withdrawn.
func (a *Accessor) current(
	m *manager, key string, now time.Duration,
) (r *tokenstore.Record, confirmed time.Duration, ok bool) {
	v := m.view.Load()
	if v == nil || now >= v.spentAt {
		return nil, 0, false
	}
	h := v.first
	if h.partition == nil || h.spelling != key {
		var ok bool
		if h, ok = v.rest[key]; !ok {
			return nil, 0, false
		}
	}
	known := h.record.Known()
	if known.Snapshot != h.snapshot || h.record.Evicted() {
		return nil, 0, false
	}
	if confirmed = a.o.Store.Confirmed(h.record, known); confirmed == 0 || now-confirmed >= a.o.LocalTTL {
		return nil, 0, false
	}
	if now-time.Duration(h.lastUsed.Load()) >= noteUseEvery {
		h.lastUsed.Store(int64(now))
		if m.view.Load() != v {
			return nil, 0, false
		}
	}
	return h.record, confirmed, true
}
