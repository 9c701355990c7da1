package msalredis

import (
	"context"
	"errors"

	"github.com/msal-redis/msal-redis-go/internal/layout"
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

// repairs tells whether a held entry is what was there before the damage. What another version of the fleet wrote with a
// key or in a form that this one does not know is newer than what this one holds, and none.
func (d damage) repairs(held stored) bool {
	switch {
	case errors.Is(d.err, serializer.ErrAEAD): // a key vault that is away
		return false
	case errors.Is(d.err, serializer.ErrUnknownKey), errors.Is(d.err, serializer.ErrVersion), errors.Is(d.err, serializer.ErrKind):
		stamp, _, err := layout.ParseHeader(d.value)
		return err == nil && stamp <= held.stamp
	}
	return true
}

// restore adds to a record that was just read what this process knows and Redis has lost, and writes it back. It asks the
// others about damage that it cannot repair. The caller holds p.mu.
func (c *Cache) restore(p *partition, s *snapshot, unreadable map[string]damage, us int64) {
	held := p.snap.Load()
	if !p.user {
		return
	}
	var lost []stored
	var damaged []any
	if p.remembers(c, held, s) {
		for _, e := range held.live(us) {
			there, ok := s.entries[e.field]
			d, bad := unreadable[e.field]
			if _, waits := p.unsaved[e.field]; waits || ok && there.stamp >= e.stamp || bad && !d.repairs(e) {
				continue
			}
			if bad {
				damaged = append(damaged, e.field, d.value)
				delete(unreadable, e.field)
			}
			s.entries[e.field] = e
			lost = append(lost, e)
		}
	}
	if len(unreadable) > 0 {
		c.background(func(ctx context.Context) { c.changes.ask(ctx, p.pid) })
	}
	if len(lost) == 0 {
		return
	}
	c.log.info("Redis lost a user's record; it is written back from memory")
	c.metrics.restored()
	generation := s.generation
	c.background(func(ctx context.Context) {
		if len(damaged) > 0 {
			if c.store.run(ctx, layout.DiscardScript, []string{c.keys.Tokens(p.pid)}, func(reply) error { return nil }, damaged...) != nil {
				return // the next look finds it again
			}
		}
		_, _ = c.write(ctx, batch{p: p, known: generation, entries: lost})
	})
}

// remembers tells whether what this process holds of a record was there until Redis lost it. The caller holds p.mu.
func (p *partition) remembers(c *Cache, held, s *snapshot) bool {
	switch {
	case held == nil || p.writing > 0:
		return false
	case s.generation > 0:
		return s.generation == held.generation
	}
	return p.confirmed != 0 && c.clock.elapsed()-p.confirmed < int64(layout.TombstoneLife)
}
