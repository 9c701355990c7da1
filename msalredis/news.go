package msalredis

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// news tells the other instances at once that a partition was removed, and as of when. It only saves
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
	change, ok := layout.ParseChange(payload, n.c.clock.Now())
	if !ok || change.From == n.self {
		return
	}
	if change.Removed.Latest() == 0 {
		n.c.store.Mend(change.ID)
		return
	}
	n.c.store.Hear(change.ID, change.Removed)
	n.c.answers.forget(change.ID)
	n.c.flights.forget(change.ID)
	n.c.assertions.remove(change.ID, change.Removed, false)
}

// tell tells the others of a removal. Nobody waits for it to succeed.
func (n *news) tell(ctx context.Context, pid id, removed layout.Tombstone) {
	channel := n.c.keys.Changes()
	_ = n.c.redis.Do(ctx, channel, func(ctx context.Context, client redis.UniversalClient) error {
		return client.Publish(ctx, channel, layout.Change{From: n.self, ID: pid, Removed: removed}.String()).Err()
	})
}

// ask asks the others to mend a record that this process finds damaged and does not know.
func (n *news) ask(ctx context.Context, pid id) { n.tell(ctx, pid, layout.Tombstone{}) }
