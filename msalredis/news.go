package msalredis

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// news tells the other instances at once that a partition was removed, and by which generation of it. It only saves
// time: one that misses the message finds out within LocalTTL, or when it can ask Redis again.
type news struct {
	c    *Cache
	self string
	once sync.Once
}

func newNews(c *Cache) *news { return &news{c: c, self: rand.Text()} }

const (
	// listenAfter lets the first use of a Cache, in a new process, come to its end before a second connection is made.
	listenAfter = 5 * time.Millisecond
	// newsKept is how many messages wait to be heard at most.
	newsKept = 1024
)

// listen starts to hear the others, soon after the first use of the Cache: making one asks Redis nothing.
func (n *news) listen() {
	n.once.Do(func() { time.AfterFunc(listenAfter, n.hearAll) })
}

// hearAll hears the others until the Cache ends.
func (n *news) hearAll() {
	n.c.background(func(ctx context.Context) {
		changes, err := n.c.redis.Bus.Subscribe(n.c.keys.Changes(), newsKept)
		if err != nil {
			return // closed
		}
		defer changes.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-changes.C():
			}
			heard, missed := changes.Take()
			if missed { // at first, after a connection that was lost, or because more came than is kept
				n.c.assertions.removeAll()
			}
			for _, payload := range heard {
				n.hear(payload)
			}
		}
	})
}

// hear forgets what was removed by another instance, and looks after what another found damaged.
func (n *news) hear(payload string) {
	change, ok := layout.ParseChange(payload)
	if !ok || change.From == n.self {
		return
	}
	p := n.c.partitions.peek(change.ID)
	if change.Generation == 0 {
		if p != nil {
			p.whole.Store(true)
			n.c.background(func(ctx context.Context) { _, _ = n.c.partitions.load(ctx, p) })
		}
		return
	}
	timely := change.Generation <= n.c.clock.Now().Add(ahead).Micros() // nobody gives one of a time to come
	if timely {
		n.c.removals.note(change.ID, change.Generation, n.c.clock.Elapsed(), false)
	}
	n.c.answers.forget(change.ID)
	n.c.flights.forget(change.ID)
	if !timely {
		return
	}
	n.c.assertions.remove(change.ID, change.Generation, false)
	if p != nil {
		p.removed(change.Generation)
	}
}

// ahead is what a generation may be ahead of this process's idea of Redis's clock.
const ahead = 5 * time.Second

// removed forgets what was known before a generation, which another instance has given the partition: Redis may be away at
// the next call, and what is held would go on serving, or lose its data, tombstone and all, and it would be written back.
func (p *partition) removed(generation int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held := p.snap.Load(); held != nil && held.generation >= generation {
		return // it is known, and what is held is of after it
	}
	s := &snapshot{generation: generation, entries: map[string]stored{}}
	if held := p.snap.Load(); held != nil {
		for field, e := range held.entries { // a sign-out that was tried again ends no later session
			if e.session >= generation {
				s.entries[field] = e
			}
		}
	}
	p.overlay(s)
	p.snap.Store(s)
	p.asOf = max(p.asOf, generation) // also of what nobody has looked at yet: the answer to the first look may be of before
	p.confirmed = 0
	p.checked.Store(0)
}

// tell tells the others of a removal. Nobody waits for it to succeed.
func (n *news) tell(ctx context.Context, pid id, generation int64) {
	channel := n.c.keys.Changes()
	_ = n.c.redis.Do(ctx, channel, func(ctx context.Context, client redis.UniversalClient) error {
		return client.Publish(ctx, channel, layout.Change{From: n.self, ID: pid, Generation: generation}.String()).Err()
	})
}

// ask asks the others to mend a record that this process finds damaged and does not know.
func (n *news) ask(ctx context.Context, pid id) { n.tell(ctx, pid, 0) }
