package msalredis

import (
	"math"
	"sync"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// clock tells Redis's time, by which everything in Redis is dated: the instances of a fleet need not agree on the
// time, only reach the same Redis.
type clock struct {
	now   func() time.Time // the wall clock that MSAL reads
	start time.Time

	mu     sync.Mutex
	known  bool
	offset time.Duration // Redis's time less ours
	spread time.Duration // how wrong offset may be: half the round trip that told it
	at     time.Time
	last   int64 // what redis has said last

	// How far Redis's time is from that since start at the least, in microseconds: the greatest since turned, and of the span before.
	lead, leadBefore int64
	turned           time.Duration
}

// leadLife is for how long a clock that was ahead of the others counts: what it has dated has gone then.
const leadLife = layout.TombstoneLife

// tolerance is how far the clocks may be apart before times are translated. Below it translating would only
// add the noise of the measurement.
const tolerance = 2 * time.Second

func newClock() *clock {
	return &clock{now: time.Now, start: time.Now(), lead: math.MinInt64, leadBefore: math.MinInt64}
}

// elapsed is the time since the Cache was made, in nanoseconds, by a clock that nobody sets: what ages within this
// process is dated by it. It costs half of what the wall clock does, and is read at every hit.
func (c *clock) elapsed() int64 { return int64(time.Since(c.start)) }

// observe learns from an answer that was asked for at start, arrived at end, and carries Redis's time.
func (c *clock) observe(start, end time.Time, us int64) {
	spread := end.Sub(start) / 2
	c.mu.Lock()
	defer c.mu.Unlock()
	at := end.Sub(c.start)
	if at-c.turned > leadLife {
		c.leadBefore, c.lead, c.turned = c.lead, math.MinInt64, at
	}
	c.lead = max(c.lead, us-at.Microseconds())
	// A slow answer tells little: it does not replace a better one, unless that is old.
	if c.known && spread > 2*c.spread+time.Millisecond && end.Sub(c.at) < time.Minute {
		return
	}
	ours := c.now().Add(-time.Since(start) + spread) // c.now, not start: tests shift it
	c.offset, c.spread, c.known, c.at = time.UnixMicro(us).Sub(ours.Round(0)), spread, true, end
}

// redis is Redis's time in microseconds, by our best knowledge; our own clock's while nothing is known.
//
// It always moves on, unless it is set back by more than tolerance. A busy machine's first look may tell the time seconds wrong, the next one better,
// and what this process does later must not get the earlier stamp for that.
func (c *clock) redis() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	us := c.now().Add(c.offset).UnixMicro()
	if back := c.last - us; back >= 0 && back < tolerance.Microseconds() {
		us = c.last + 1
	}
	c.last = us
	return us
}

// latest is Redis's time at a moment since the Cache's start, at the least, by the clock that was ahead of the others of late: nodes of a
// cluster, and a server and the one that takes its place, need not agree. 0: nothing is known of them.
func (c *clock) latest(moment int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0
	}
	return moment/1000 + max(c.lead, c.leadBefore)
}

// apart is what Redis's time is ahead of ours; false: nothing is known yet.
func (c *clock) apart() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset, c.known
}

// shift is what to add to a time of ours, in whole seconds, to get Redis's; 0 while the clocks agree.
func (c *clock) shift() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offset.Abs() <= tolerance {
		return 0
	}
	return int64(c.offset.Round(time.Second) / time.Second)
}
