package msalredis

import (
	"context"
	"errors"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Redis may lose what it has of a user: all of it (a restart), a record (eviction), the last writes to it (a failover), or
// sense of it (a value that was damaged). The refresh token may be known to nobody but the instances that
// had it in their hands, so they bring it back: each what it knows, the newer stamp stays. What a sign-out removed is
// not brought back: its tombstone is there, unless the instance has not asked for longer than that lives, or has heard
// of one.

// damage is a value that cannot be read.
type damage struct {
	value string
	err   error
}

// foreign tells whether the value is no damage, but what another version of the fleet wrote with a key or in a form that
// this one does not know, or a key vault is away that could open it.
func (d damage) foreign() bool {
	for _, e := range []error{serializer.ErrAEAD, serializer.ErrUnknownKey, serializer.ErrVersion, serializer.ErrKind} {
		if errors.Is(d.err, e) {
			return true
		}
	}
	return false
}

// repairs tells whether a held entry is what was there before the damage. A foreign value is newer than what this process
// holds, and none, unless its header, which every version can read, says otherwise.
func (d damage) repairs(held stored) bool {
	if !d.foreign() {
		return true
	}
	stamp, _, err := layout.ParseHeader(d.value)
	return err == nil && stamp <= held.stamp && !errors.Is(d.err, serializer.ErrAEAD)
}

// restore adds to a record that was just read what this process knows and Redis has lost, and writes it back. It asks the
// others about damage that it cannot repair, unless it reads because one of them asks: who knows nothing is silent. The
// caller holds p.mu.
func (c *Cache) restore(p *partition, s *snapshot, unreadable map[string]damage, us int64, asked bool) {
	held := p.snap.Load()
	if !p.user {
		return
	}
	var lost []stored
	var damaged []any
	if p.remembers(c, held, s, us) {
		// Where Redis has lost the tombstone, what is held is still of after that sign-out: an older copy of Redis's data, with
		// the tombstone in it, may come back.
		s.generation = max(s.generation, held.generation)
		for _, e := range held.live(us) {
			there, ok := s.entries[e.field]
			d, bad := unreadable[e.field]
			if _, waits := p.unsaved[e.field]; waits || ok && there.stamp >= e.stamp {
				continue
			}
			// Also beside a value that cannot be read: a token that serves is better than none.
			s.entries[e.field] = e
			if bad && !d.repairs(e) {
				continue
			}
			if bad {
				damaged = append(damaged, e.field, d.value)
				delete(unreadable, e.field)
			}
			lost = append(lost, e)
		}
	}
	for _, d := range unreadable {
		if !asked && !d.foreign() {
			c.background(func(ctx context.Context) { c.changes.ask(ctx, p.pid) })
			break
		}
	}
	if len(lost) == 0 {
		return
	}
	if p.writing > 0 {
		// What a write under way brings is not in Redis yet, and nothing it has lost. What else is missing shows when it is
		// done.
		p.whole.Store(true)
		return
	}
	c.log.Info("Redis lost a user's record; it is written back from memory")
	c.metrics.Wrote(telemetry.Restored)
	generation := s.generation
	c.background(func(ctx context.Context) {
		if len(damaged) > 0 {
			if c.redis.Run(ctx, layout.DiscardScript, []string{c.keys.Tokens(p.pid)}, func(redisop.Reply) error { return nil }, damaged...) != nil {
				return // the next look finds it again
			}
		}
		_, _ = c.write(ctx, batch{p: p, known: generation, entries: lost})
	})
}

// remembers tells whether what this process holds of a record was there until Redis lost it. The caller holds p.mu.
//
// The tombstone of a sign-out that this process has not heard of must still live if there was one, by either clock: this
// machine's stands still while it is suspended, and Redis's may be another server's. A record that nobody has used for UserTTL has
// expired and is not lost; a look prolongs one only when a hundredth of that has passed.
func (p *partition) remembers(c *Cache, held, s *snapshot, us int64) bool {
	within := func(life time.Duration) bool {
		return p.confirmed != 0 && c.clock.Elapsed()-p.confirmed < int64(life) && us-p.asOf < life.Microseconds()
	}
	switch {
	case held == nil || !within(c.o.UserTTL-c.o.UserTTL/100):
		return false
	case s.generation > 0:
		return s.generation <= held.generation // an older one: Redis has lost that sign-out, and what came after it
	}
	return within(layout.TombstoneLife)
}
