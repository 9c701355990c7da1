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

// current tells whether MSAL may read a partition from the manager as it is: no lock, no Redis, no JSON. age is for how
// long what Redis has confirmed is relied on.
//
// The use is noted before the view is looked at again, and a hand-over withdraws the view before it reads the notes:
// so either it sees that the partition is in use and keeps it in the document, or this sees that the view is withdrawn.
func (m *manager) current(key string, now, age time.Duration) (*tokenstore.Record, bool) {
	v := m.view.Load()
	if v == nil || now >= v.spentAt {
		return nil, false
	}
	h := v.first
	if h.partition == nil || h.spelling != key {
		var ok bool
		if h, ok = v.rest[key]; !ok {
			return nil, false
		}
	}
	known := h.record.Known()
	if known.Snapshot != h.snapshot || known.Checked == 0 || now-known.Checked >= age || h.record.Evicted() {
		return nil, false
	}
	if now-time.Duration(h.lastUsed.Load()) >= noteUseEvery {
		h.lastUsed.Store(int64(now))
		if m.view.Load() != v {
			return nil, false
		}
	}
	return h.record, true
}
