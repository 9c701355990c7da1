package msalredis

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// pending are the writes that Redis has not taken, because it is away, read-only or full. They are bounded, and
// pushed when it is back; each carries the stamp and the generation it had, so that none puts something old over
// something newer and none undoes a sign-out.
type pending struct {
	c *Cache

	mu       sync.Mutex
	parts    map[id]*partition // those with unsaved entries
	others   map[string]*waiting
	bytes    int64
	pushing  bool
	wake     chan struct{}
	dropping sync.Once
}

// waiting is a write other than of entries: an answer of the gate, a sign-out.
type waiting struct {
	size int64
	push func(context.Context) error
	must bool // a sign-out is never dropped
}

func newPending(c *Cache) *pending {
	return &pending{c: c, parts: map[id]*partition{}, others: map[string]*waiting{}, wake: make(chan struct{}, 1)}
}

// holder is the partition's holder while entries of it wait.
func (w *pending) holder(pid id) *partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parts[pid]
}

// keepEntries keeps a batch that Redis has not taken.
func (w *pending) keepEntries(b batch) {
	size := int64(0)
	b.p.mu.Lock()
	if b.p.unsaved == nil {
		b.p.unsaved = map[string]unsaved{}
	}
	for _, e := range b.entries {
		held, ok := b.p.unsaved[e.field]
		if ok && held.stamp >= e.stamp {
			continue
		}
		if !ok {
			size += e.size()
		}
		b.p.unsaved[e.field] = unsaved{stored: e, known: b.known, fresh: b.fresh}
	}
	b.p.mu.Unlock()

	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.fits(size) {
		b.p.mu.Lock()
		for _, e := range b.entries {
			delete(b.p.unsaved, e.field)
		}
		b.p.mu.Unlock()
		return
	}
	w.bytes += size
	w.parts[b.p.pid] = b.p
	w.start()
}

// keep keeps another write under a name of its own; a later one of that name replaces it.
func (w *pending) keep(name string, p *waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.others[name]; ok {
		w.bytes -= old.size
	} else if !p.must && !w.fits(p.size) {
		return
	}
	w.others[name] = p
	w.bytes += p.size
	w.start()
}

// done takes a write back that has been made, unless a later one has taken its name meanwhile.
func (w *pending) done(name string, p *waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.others[name] == p {
		w.bytes -= p.size
		delete(w.others, name)
	}
}

// waits tells whether a write of that name waits.
func (w *pending) waits(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.others[name] != nil
}

// waitingNow is how many writes wait, how many of them are sign-outs, and what memory they take.
func (w *pending) waitingNow() (n, signouts, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.others {
		if p.must {
			signouts++
		}
	}
	return int64(len(w.parts) + len(w.others)), signouts, w.bytes
}

// fits tells whether size more bytes may wait. The caller holds mu.
func (w *pending) fits(size int64) bool {
	if w.bytes+size <= w.c.o.LocalBytes {
		return true
	}
	w.c.metrics.dropped()
	w.dropping.Do(func() {
		w.c.log.warn("more writes wait for Redis than LocalBytes allows; further tokens stay in this process alone")
	})
	return false
}

// start makes sure that a pusher runs. The caller holds mu.
func (w *pending) start() {
	if w.pushing || w.c.life.Err() != nil {
		return
	}
	w.pushing = w.c.workers.run(w.loop)
}

// nudge makes the pusher try at once: Redis is back.
func (w *pending) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *pending) loop() {
	pause := 100 * time.Millisecond
	for {
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-w.c.life.Done():
			timer.Stop()
			return
		case <-w.wake:
			timer.Stop()
			pause = 100 * time.Millisecond
		case <-timer.C:
			pause = min(2*pause, 5*time.Second)
		}
		if w.c.store.away.Load() {
			continue
		}
		w.push(w.c.life)
		w.mu.Lock()
		if len(w.parts) == 0 && len(w.others) == 0 {
			w.pushing, w.bytes = false, 0
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

// push writes all that waits, sign-outs first: what was asked for before them they refuse. It stops at the first
// error.
func (w *pending) push(ctx context.Context) {
	w.mu.Lock()
	others := maps.Clone(w.others)
	parts := slices.Collect(maps.Values(w.parts))
	w.mu.Unlock()

	for _, signouts := range []bool{true, false} {
		for name, p := range others {
			if p.must != signouts {
				continue
			}
			if err := p.push(ctx); err != nil {
				return
			}
			w.done(name, p)
		}
	}
	for _, p := range parts {
		if err := w.pushEntries(ctx, p); err != nil {
			return
		}
	}
}

func (w *pending) pushEntries(ctx context.Context, p *partition) error {
	type kind struct {
		known int64
		fresh bool
	}
	p.mu.Lock()
	batches := map[kind][]stored{}
	for _, e := range p.unsaved {
		k := kind{e.known, e.fresh}
		batches[k] = append(batches[k], e.stored)
	}
	p.mu.Unlock()
	for k, entries := range batches {
		if _, err := w.c.write(ctx, batch{p: p, entries: entries, known: k.known, fresh: k.fresh, again: true}); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unsaved) == 0 {
		delete(w.parts, p.pid)
	}
	return nil
}
