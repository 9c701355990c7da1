package redistime

import (
	"math"
	"sync"
	"time"
)

// Clock tells Redis's time.
type Clock struct {
	// Wall is the wall clock that MSAL reads. Tests put another in its place, before the Clock is used.
	Wall func() time.Time

	start time.Time

	mu     sync.Mutex
	known  bool
	offset time.Duration // Redis's time less ours, if the answer that told it was as long on its way as the question
	spread time.Duration // how wrong that may be: half the round trip
	at     time.Time     // when offset was learnt
	last   Time          // what Now has said last

	// How far Redis's time is from Elapsed at the least, in microseconds: the greatest since turned, and of the span
	// before.
	lead, leadBefore int64
	turned           time.Duration
	leadLife         time.Duration
}

// tolerance is how far the clocks may be apart before times are translated. Below it translating would only
// add the noise of the measurement.
const tolerance = 2 * time.Second

// New makes a Clock whose Elapsed counts from start. leadLife is for how long a server whose clock was ahead of the
// others' counts in [Clock.Latest]: until what it has dated has gone.
func New(start time.Time, leadLife time.Duration) *Clock {
	return &Clock{Wall: time.Now, start: start, leadLife: leadLife, lead: math.MinInt64, leadBefore: math.MinInt64}
}

// Elapsed is the time since the Clock's start, in nanoseconds. It costs half of what the wall clock does, and is read
// at every hit.
func (c *Clock) Elapsed() int64 { return int64(time.Since(c.start)) }

// Observe learns from an answer that was asked for at start, arrived at end, and carries Redis's time.
func (c *Clock) Observe(start, end time.Time, told Time) {
	spread := end.Sub(start) / 2
	c.mu.Lock()
	defer c.mu.Unlock()
	at := end.Sub(c.start)
	if at-c.turned > c.leadLife {
		c.leadBefore, c.lead, c.turned = c.lead, math.MinInt64, at
	}
	c.lead = max(c.lead, told.Micros()-at.Microseconds())
	// A slow answer tells little: it does not replace a better one, unless that is old.
	if c.known && spread > 2*c.spread+time.Millisecond && end.Sub(c.at) < time.Minute {
		return
	}
	ours := c.Wall().Add(-time.Since(start) + spread) // Wall, not start: tests shift it
	if !c.known {
		c.last = 0 // by our own clock, which may have been ahead
	}
	c.offset, c.spread, c.known, c.at = told.less(ours), spread, true, end
}

// Now is Redis's time by our best knowledge, and never ahead of it, as if the answer that told had taken no time: what
// is dated ahead would be of after a removal that comes next. While nothing is known it is our own clock's.
//
// It always moves on, unless it is set back by more than tolerance. A busy machine's first look may tell the time
// seconds wrong, the next one better, and what this process does later must not get the earlier stamp for that.
func (c *Clock) Now() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := of(c.Wall(), c.offset-c.spread)
	if back := c.last.Sub(now); back >= 0 && back < tolerance {
		now = c.last + 1
	}
	c.last = now
	return now
}

// Latest is Redis's time at a moment of Elapsed, at the least, by the server whose clock was ahead of the others' of
// late: nodes of a cluster, and a server and the one that takes its place, need not agree. 0: nothing is known of them.
func (c *Clock) Latest(moment int64) Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0
	}
	return Time(moment/1000 + max(c.lead, c.leadBefore))
}

// Offset is what Redis's time is ahead of ours; false: nothing is known yet.
func (c *Clock) Offset() (ahead time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset, c.known
}

// Error is how far Redis's time may be ahead of Now: the round trip that told it.
func (c *Clock) Error() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 2 * c.spread
}

// Shift is what to add to a time of ours, in whole seconds, to get Redis's; 0 while the clocks agree.
func (c *Clock) Shift() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offset.Abs() <= tolerance {
		return 0
	}
	return int64(c.offset.Round(time.Second) / time.Second)
}
