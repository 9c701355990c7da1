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
