package msalredis

import (
	"testing"
	"testing/synctest"
	"time"
)

// A measurement that was wrong and is corrected does not make what comes later the older; a clock that was set does.
func TestRedisTimeMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		measure := func(ahead, took time.Duration) {
			start := time.Now()
			time.Sleep(took)
			c.observe(start, time.Now(), start.Add(took/2+ahead).UnixMicro())
		}
		measure(tolerance-time.Millisecond, 3*time.Second)
		before := c.redis()
		measure(0, 0)
		for range 3 {
			after := c.redis()
			if after <= before {
				t.Fatalf("after a correction the time goes from %d to %d", before, after)
			}
			before = after
		}
		if ahead := before - time.Now().UnixMicro(); ahead < 0 || ahead > tolerance.Microseconds() {
			t.Errorf("it is %d us ahead", ahead)
		}
		time.Sleep(2 * tolerance)
		if c.redis() != time.Now().UnixMicro() {
			t.Error("it is not right in the end")
		}
		measure(-2*tolerance, 0)
		if c.redis() != time.Now().Add(-2*tolerance).UnixMicro() {
			t.Error("a clock that was set back is not followed")
		}
	})
}

// What counts is the clock that was ahead of the others, until what it has dated has gone.
func TestLatestIsTheClockThatWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		if got := c.latest(c.elapsed()); got != 0 {
			t.Errorf("where nothing is known: %d", got)
		}
		told := func(ahead time.Duration) (told int64) {
			now := time.Now()
			us := now.Add(ahead).UnixMicro()
			c.observe(now, now, us)
			return us
		}
		for _, ahead := range []time.Duration{0, 3 * time.Second, -time.Second, time.Second} {
			told(ahead)
			time.Sleep(time.Minute)
		}
		asked := c.elapsed()
		time.Sleep(time.Minute)
		if got, want := c.latest(asked), told(0)-time.Minute.Microseconds()+3e6; got != want {
			t.Errorf("latest is %d, want %d", got, want)
		}
		for range 3 {
			time.Sleep(leadLife)
			told(time.Second)
			told(0)
		}
		if got, want := c.latest(c.elapsed()), told(time.Second); got != want {
			t.Errorf("when the clock that was ahead has gone, latest is %d, want %d", got, want)
		}
	})
}
