package tokenstore

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// pending are the writes that Redis has not taken, because it is away, read-only or full. They are bounded, and
// pushed when it is back; each carries the stamp and the session it had, so that none puts something old over
// something newer and none undoes a removal.
type pending struct {
	st *Store

	mu       sync.Mutex
	records  map[ID]*Record // those with unsaved entries
	others   map[string]*Waiting
	bytes    int64
	pushing  bool
	wake     chan struct{}
	dropping sync.Once
}

// Waiting is a write other than of entries: an answer of the gate, a removal.
type Waiting struct {
	Size int64
	Push func(context.Context) error
	Must *Record // of a removal, which is never dropped: what it is of
}

func newPending(st *Store) *pending {
	return &pending{st: st, records: map[ID]*Record{}, others: map[string]*Waiting{}, wake: make(chan struct{}, 1)}
}

// holder is the holder of a partition of which entries wait or a removal, of which it alone knows.
func (w *pending) holder(pid ID) *Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.records[pid]; r != nil {
		return r
	}
	for _, p := range w.others {
		if p.Must != nil && p.Must.ID == pid {
			return p.Must
		}
	}
	return nil
}

// keep keeps a batch that Redis has not taken. Where no more fits, what is new of it is dropped.
func (w *pending) keep(b Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.records[b.ID] // of two holders, one of them evicted with its write under way, the first keeps for both
	if r == nil {
		r = b.Record
	}
	size := int64(0)
	waiting := map[string]bool{}
	for _, e := range r.unsaved() {
		waiting[e.Field] = true
	}
	for _, e := range b.Entries {
		if !waiting[e.Field] {
			size += e.Size()
		}
	}
	r.Apply(record.Kept{Entries: b.Entries, Fits: size == 0 || w.fits(size)})
	w.count(r)
	w.start()
}

func (r *Record) unsaved() []record.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Unsaved()
}

// count takes note of how much of a record waits: what was pushed, or ended by a removal, does no longer. The caller
// holds mu.
func (w *pending) count(r *Record) {
	size := int64(0)
	unsaved := r.unsaved()
	for _, e := range unsaved {
		size += e.Size()
	}
	if len(unsaved) > 0 {
		w.records[r.ID] = r
	} else if w.records[r.ID] == r {
		delete(w.records, r.ID)
	}
	w.bytes += size - r.waits
	r.waits = size
}

// Keep keeps another write under a name of its own; a later one of that name replaces it.
func (st *Store) Keep(name string, p *Waiting) {
	w := st.pending
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.others[name]; ok {
		w.bytes -= old.Size
	} else if p.Must == nil && !w.fits(p.Size) {
		return
	}
	w.others[name] = p
	w.bytes += p.Size
	w.start()
}

// Made takes a write back that has been made, unless a later one has taken its name meanwhile.
func (st *Store) Made(name string, p *Waiting) {
	w := st.pending
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.others[name] == p {
		w.bytes -= p.Size
		delete(w.others, name)
	}
}

// Waits tells whether a write of that name waits.
func (st *Store) Waits(name string) bool {
	st.pending.mu.Lock()
	defer st.pending.mu.Unlock()
	return st.pending.others[name] != nil
}

// Waiting is how many writes wait, how many of them are removals, and what memory they take.
func (st *Store) Waiting() (n, removals, bytes int64) {
	w := st.pending
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.others {
		if p.Must != nil {
			removals++
		}
	}
	return int64(len(w.records) + len(w.others)), removals, w.bytes
}

// fits tells whether size more bytes may wait. The caller holds mu.
func (w *pending) fits(size int64) bool {
	if w.bytes+size <= w.st.o.LocalBytes {
		return true
	}
	w.st.o.Metrics.Wrote(telemetry.Dropped)
	w.dropping.Do(func() {
		w.st.o.Log.Warn("more writes wait for Redis than LocalBytes allows; further tokens stay in this process alone")
	})
	return false
}

// start makes sure that a pusher runs. The caller holds mu.
func (w *pending) start() {
	if w.pushing || w.st.o.Life.Err() != nil {
		return
	}
	w.pushing = w.st.o.Workers.Run(w.loop)
}

// Nudge makes the pusher try at once: Redis is back.
func (st *Store) Nudge() {
	select {
	case st.pending.wake <- struct{}{}:
	default:
	}
}

func (w *pending) loop() {
	pause := 100 * time.Millisecond
	for {
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-w.st.o.Life.Done():
			timer.Stop()
			return
		case <-w.wake:
			timer.Stop()
			pause = 100 * time.Millisecond
		case <-timer.C:
			pause = min(2*pause, 5*time.Second)
		}
		if w.st.o.Redis.Breaker.IsOpen() {
			continue
		}
		w.st.Push(w.st.o.Life)
		w.mu.Lock()
		if len(w.records) == 0 && len(w.others) == 0 {
			w.pushing = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

const (
	// refusedAtMost is after how many refusals the rest need not try: a Redis that is read-only or full refuses all of
	// them.
	refusedAtMost = 64
	// pushesAtOnce is how many writes are on their way together. One after the other, what an outage has left would take
	// as many round trips, and others would not see a sign-in or a sign-out until then. More would keep callers waiting.
	pushesAtOnce = 8
)

// Push writes all that waits, removals first: less is left to be written then. A write that Redis goes on refusing
// keeps the others from nothing.
func (st *Store) Push(ctx context.Context) {
	w := st.pending
	var removals, others, entries []func() bool // true: it is made
	w.mu.Lock()
	for name, p := range w.others {
		push := func() bool {
			err := p.Push(ctx)
			if err == nil {
				st.Made(name, p)
			}
			return err == nil
		}
		if p.Must != nil {
			removals = append(removals, push)
		} else {
			others = append(others, push)
		}
	}
	for _, r := range w.records {
		entries = append(entries, func() bool { return w.pushEntries(ctx, r) })
	}
	w.mu.Unlock()

	for _, pushes := range [][]func() bool{removals, others, entries} {
		var refused atomic.Int32
		var group errgroup.Group
		group.SetLimit(pushesAtOnce)
		for _, push := range pushes {
			if ctx.Err() != nil || st.o.Redis.Breaker.IsOpen() || refused.Load() >= refusedAtMost {
				break
			}
			group.Go(func() error {
				if !push() {
					refused.Add(1)
				}
				return nil
			})
		}
		_ = group.Wait()
	}
}

// pushEntries writes what waits of a record; false: not all of it.
func (w *pending) pushEntries(ctx context.Context, r *Record) bool {
	var err error
	if entries := r.unsaved(); len(entries) > 0 {
		_, err = w.st.Write(ctx, Batch{Record: r, Entries: entries, again: true})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count(r)
	return err == nil
}
