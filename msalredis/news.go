package msalredis

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// news tells the other instances at once that a partition was removed, and by which generation of it. It only saves
// time: one that misses the message finds out within LocalTTL, or when it can ask Redis again.
type news struct {
	c      *Cache
	client redis.UniversalClient
	self   string

	once   sync.Once
	pubsub atomic.Pointer[redis.PubSub]
}

func newNews(c *Cache, client redis.UniversalClient) *news {
	return &news{c: c, client: client, self: rand.Text()}
}

// listenAfter lets the first use of a Cache, in a new process, come to its end before a second connection is made.
const listenAfter = 5 * time.Millisecond

// listen starts to hear the others, soon after the first use of the Cache: making one asks Redis nothing.
func (n *news) listen() {
	n.once.Do(func() { time.AfterFunc(listenAfter, n.hearAll) })
}

// hearAll hears the others until the Cache ends.
func (n *news) hearAll() {
	n.c.background(func(ctx context.Context) {
		ps := n.client.Subscribe(ctx) // connects with the first channel
		n.pubsub.Store(ps)
		defer ps.Close()
		if ctx.Err() != nil {
			return
		}
		_ = ps.Subscribe(ctx, n.c.keys.Changes()) // an error is seen, and tried again, by its Channel
		messages := ps.Channel(redis.WithChannelSize(1024))
		for {
			select {
			case <-ctx.Done():
				return
			case m, ok := <-messages:
				if !ok {
					return
				}
				n.hear(m.Payload)
			}
		}
	})
}

// hear forgets what was removed by another instance, and looks after what another found damaged.
func (n *news) hear(payload string) {
	from, pid, ok := strings.Cut(payload, " ")
	if !ok || from == n.self {
		return
	}
	pid, what, _ := strings.Cut(pid, " ")
	if what == damagedNews {
		if p := n.c.partitions.peek(id(pid)); p != nil {
			p.whole.Store(true)
			n.c.background(func(ctx context.Context) { _, _ = n.c.partitions.load(ctx, p) })
		}
		return
	}
	n.c.answers.forget(id(pid))
	n.c.flights.forget(id(pid))
	generation := whole(what)
	if generation > n.c.clock.redis()+ahead {
		generation = 0 // nobody gives one of a time to come
	}
	if p := n.c.partitions.peek(id(pid)); p != nil {
		p.removed(generation)
	}
}

// ahead is what a generation may be ahead of this process's idea of Redis's clock, in microseconds.
const ahead = 5 * 1000 * 1000

// removed forgets what was known before a generation, which another instance has given the partition: Redis may be away at
// the next call, and what is held would go on serving, or lose its data, tombstone and all, and it would be written back.
func (p *partition) removed(generation int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.snap.Load()
	if generation > 0 && held != nil && held.generation >= generation {
		return // it is known, and what is held is of after it
	}
	if held != nil && generation > 0 {
		s := &snapshot{generation: generation, entries: map[string]stored{}}
		p.overlay(s)
		p.snap.Store(s)
		p.asOf = max(p.asOf, generation)
	}
	p.confirmed = 0
	p.checked.Store(0)
}

// tell tells the others. Nobody waits for it to succeed.
func (n *news) tell(ctx context.Context, pid id, what string) {
	channel := n.c.keys.Changes()
	_ = n.c.store.do(ctx, channel, func(ctx context.Context) error {
		return n.c.store.client.Publish(ctx, channel, n.self+" "+string(pid)+" "+what).Err()
	})
}

// damagedNews is what there is to tell of a record that is damaged; of one that was removed it is the generation.
const damagedNews = "damaged"

// ask asks the others to repair a record of which this process finds a part unreadable and does not know it.
func (n *news) ask(ctx context.Context, pid id) { n.tell(ctx, pid, damagedNews) }

// close ends a subscription that may be waiting for Redis.
func (n *news) close() {
	if ps := n.pubsub.Load(); ps != nil {
		_ = ps.Close() // its goroutine closes it too: one of them finds it closed
	}
}
