package msalredis

import (
	"context"
)

// asked is when the removal of a partition was asked for. What comes late, or is tried again, concerns what had begun by then. It
// says so as signout.lua takes it.
type asked struct {
	c     *Cache
	p     *partition
	at    int64 // since the Cache's start
	us    int64 // by Redis's clock; 0: nothing was known of that
	after int64 // the latest session that was known here
}

// askedNow is now.
func (c *Cache) askedNow(p *partition) asked {
	a := asked{c: c, p: p, at: c.clock.Elapsed()}
	now := c.clock.Now()
	if _, known := c.clock.Offset(); known {
		a.us = now.Micros()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	latest := now.Add(ahead).Micros()
	note := func(e stored) {
		if e.session <= latest {
			a.after = max(a.after, e.session)
		}
	}
	for _, e := range p.unsaved {
		note(e.stored)
	}
	if s := p.snap.Load(); s != nil {
		for _, e := range s.entries {
			note(e)
		}
	}
	return a
}

// first is of the first try. An app's tokens have no sessions.
func (a asked) first() string {
	if a.us == 0 || !a.p.user {
		return "1"
	}
	return "F" + formatInt(max(a.us, a.after+1))
}

// again is of the next ones. Redis is asked for its time where nothing is known of it still.
func (a asked) again(ctx context.Context) (string, error) {
	if !a.p.user {
		return "1", nil
	}
	us := a.us
	if us == 0 {
		if _, known := a.c.clock.Offset(); !known {
			if _, err := a.c.partitions.reload(ctx, a.p); err != nil {
				return "", err
			}
		}
		us = a.c.clock.Now().Micros() - (a.c.clock.Elapsed()-a.at)/1000
	}
	return "T" + formatInt(max(us, a.after+1)), nil
}
