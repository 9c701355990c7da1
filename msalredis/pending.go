package msalredis

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
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
	must bool       // a sign-out is never dropped
	of   *partition // a sign-out's
}

func newPending(c *Cache) *pending {
	return &pending{c: c, parts: map[id]*partition{}, others: map[string]*waiting{}, wake: make(chan struct{}, 1)}
}

// holder is the partition's holder while its sign-out waits, which it alone knows of, or entries of it.
func (w *pending) holder(pid id) *partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.others[signOutOf(pid)]; s != nil {
		return s.of
	}
	return w.parts[pid]
}

// keepEntries keeps a batch that Redis has not taken. Where no more fits, what is new of it is dropped; what waits already
// stays, and a later state of it takes its place.
func (w *pending) keepEntries(b batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.parts[b.p.pid] // of two holders, one of them evicted with its write under way, the first keeps for both
	if p == nil {
		p = b.p
	}
	p.mu.Lock()
	size := int64(0)
	for _, e := range b.entries {
		if _, ok := p.unsaved[e.field]; !ok {
			size += e.size()
		}
	}
	fits := size == 0 || w.fits(size)
	if p.unsaved == nil {
		p.unsaved = map[string]unsaved{}
	}
	for _, e := range b.entries {
		if held, ok := p.unsaved[e.field]; ok && held.stamp < e.stamp || !ok && fits {
			p.unsaved[e.field] = unsaved{stored: e, known: b.known, fresh: b.fresh}
		}
	}
	p.mu.Unlock()
	w.count(p)
	w.start()
}

// count takes note of how much of a partition waits: what was pushed, or forgotten by a sign-out, does no longer. The caller
// holds mu.
func (w *pending) count(p *partition) {
	size := int64(0)
	p.mu.Lock()
	for _, e := range p.unsaved {
		size += e.size()
	}
	if len(p.unsaved) > 0 {
		w.parts[p.pid] = p
	} else if w.parts[p.pid] == p {
		delete(w.parts, p.pid)
	}
	p.mu.Unlock()
	w.bytes += size - p.waits
	p.waits = size
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
	w.c.metrics.Wrote(telemetry.Dropped)
	w.dropping.Do(func() {
		w.c.log.Warn("more writes wait for Redis than LocalBytes allows; further tokens stay in this process alone")
	})
	return false
}

// start makes sure that a pusher runs. The caller holds mu.
func (w *pending) start() {
	if w.pushing || w.c.life.Err() != nil {
		return
	}
	w.pushing = w.c.workers.Run(w.loop)
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
		if w.c.redis.Breaker.IsOpen() {
			continue
		}
		w.push(w.c.life)
		w.mu.Lock()
		if len(w.parts) == 0 && len(w.others) == 0 {
			w.pushing = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

// refusedAtMost is after how many refusals the rest need not try: a Redis that is read-only or full refuses all of them.
const refusedAtMost = 64

// push writes all that waits, sign-outs first: what was asked for before them they refuse. A write that Redis goes on refusing
// keeps the others from nothing.
func (w *pending) push(ctx context.Context) {
	var signouts, others, entries []func() bool // true: it is made
	w.mu.Lock()
	for name, p := range w.others {
		push := func() bool {
			err := p.push(ctx)
			if err == nil {
				w.done(name, p)
			}
			return err == nil
		}
		if p.must {
			signouts = append(signouts, push)
		} else {
			others = append(others, push)
		}
	}
	for _, p := range w.parts {
		entries = append(entries, func() bool { return w.pushEntries(ctx, p) })
	}
	w.mu.Unlock()

	for _, pushes := range [][]func() bool{signouts, others, entries} {
		refused := 0
		for _, push := range pushes {
			if push() {
				continue
			}
			if ctx.Err() != nil || w.c.redis.Breaker.IsOpen() {
				return
			}
			if refused++; refused == refusedAtMost {
				break
			}
		}
	}
}

// pushEntries writes what waits of a partition; false: not all of it.
func (w *pending) pushEntries(ctx context.Context, p *partition) bool {
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
	all := true
	for k, entries := range batches {
		if _, err := w.c.write(ctx, batch{p: p, entries: entries, known: k.known, fresh: k.fresh, again: true}); err != nil {
			all = false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count(p)
	return all
}
