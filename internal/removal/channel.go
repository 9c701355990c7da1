package removal

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// The instances tell each other at once what was removed, and as of when. The messages only save time: an instance that
// misses one learns of the removal within LocalTTL, or when it can ask Redis again.

const (
	// listenAfter lets the first use in a new process come to its end before a second connection is made.
	listenAfter = 5 * time.Millisecond
	// messagesKept is how many messages wait to be heard at most.
	messagesKept = 1024
)

// Listen starts to hear the other instances, soon, at its first call: making a Remover asks Redis nothing.
func (rs *Remover) Listen() {
	rs.listening.Do(func() { time.AfterFunc(listenAfter, rs.hearAll) })
}

// hearAll hears the others until the Remover's life ends.
func (rs *Remover) hearAll() {
	rs.o.Workers.Run(func() {
		changes, err := rs.o.Redis.Bus.Subscribe(rs.o.Names.Changes(), messagesKept)
		if err != nil {
			return // closed
		}
		defer changes.Close()
		for {
			select {
			case <-rs.o.Life.Done():
				return
			case <-changes.C():
			}
			heard, missed := changes.Take()
			if missed { // at first, after a connection that was lost, or because more came than is kept
				rs.o.Missed()
			}
			for _, payload := range heard {
				rs.hear(payload)
			}
		}
	})
}

// hear forgets what was removed by another instance, and looks after what another found damaged.
func (rs *Remover) hear(payload string) {
	change, ok := layout.ParseChange(payload, rs.o.Clock.Now())
	if !ok || change.From == rs.self {
		return
	}
	if change.Removed.Latest() == 0 {
		rs.o.Store.Mend(change.ID)
		return
	}
	rs.o.Store.Hear(change.ID, change.Removed)
	rs.o.Forget(change.ID, change.Removed, false)
}

// tell tells the others of a removal. Nobody waits for it to succeed.
func (rs *Remover) tell(ctx context.Context, pid layout.ID, removed layout.Tombstone) {
	channel := rs.o.Names.Changes()
	_ = rs.o.Redis.Do(ctx, channel, func(ctx context.Context, client redis.UniversalClient) error {
		return client.Publish(ctx, channel, layout.Change{From: rs.self, ID: pid, Removed: removed}.String()).Err()
	})
}

// AskMend asks the others to mend a record that this process finds damaged in Redis and has no copy of.
func (rs *Remover) AskMend(ctx context.Context, pid layout.ID) { rs.tell(ctx, pid, layout.Tombstone{}) }
