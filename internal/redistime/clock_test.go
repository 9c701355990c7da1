package redistime

import (
	"testing"
	"testing/synctest"
	"time"
)

const leadLife = 15 * time.Minute

// A measurement that was wrong and is corrected does not make what comes later the older; a clock that was set does.
func TestRedisTimeMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(time.Now(), leadLife)
		measure := func(ahead, took time.Duration) {
			start := time.Now()
			time.Sleep(took)
			c.Observe(start, time.Now(), of(start, took/2+ahead))
		}
		measure(tolerance-time.Millisecond, 3*time.Second)
		before := c.Now().Micros()
		measure(0, 0)
		for range 3 {
			after := c.Now().Micros()
			if after <= before {
				t.Fatalf("after a correction the time goes from %d to %d", before, after)
			}
			before = after
		}
		if ahead := before - time.Now().UnixMicro(); ahead < 0 || ahead > tolerance.Microseconds() {
			t.Errorf("it is %d us ahead", ahead)
		}
		time.Sleep(2 * tolerance)
		if c.Now().Micros() != time.Now().UnixMicro() {
			t.Error("it is not right in the end")
		}
		measure(-2*tolerance, 0)
		if c.Now().Micros() != time.Now().Add(-2*tolerance).UnixMicro() {
			t.Error("a clock that was set back is not followed")
		}
	})
}

// An answer that was long on its way does not replace a better one, until that is old; and a clock of which nothing is
// known is ours.
func TestOffsetIsTheBestMeasurements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(time.Now(), leadLife)
		if offset, known := c.Offset(); known || offset != 0 || c.Shift() != 0 || c.Now() != of(time.Now(), 0) {
			t.Errorf("at first: %v %v", offset, known)
		}
		for _, step := range []struct{ later, took, ahead, want time.Duration }{
			{0, 10 * time.Millisecond, time.Minute, time.Minute},
			{time.Second, time.Second, time.Hour, time.Minute},
			{time.Second, 10 * time.Millisecond, -time.Hour, -time.Hour},
			{time.Minute, time.Second, 400 * time.Millisecond, 400 * time.Millisecond},
		} {
			time.Sleep(step.later)
			start := time.Now()
			time.Sleep(step.took)
			c.Observe(start, time.Now(), of(start, step.took/2+step.ahead))
			if got, known := c.Offset(); got != step.want || !known {
				t.Errorf("after %+v: %v %v", step, got, known)
			}
			want := int64(step.want / time.Second)
			if got := c.Shift(); got != want {
				t.Errorf("after %+v: times are shifted by %d s, want %d", step, got, want)
			}
		}
	})
}

func TestTime(t *testing.T) {
	at := Time(1_700_000_000_000_000)
	if later := at.Add(1500 * time.Millisecond); later.Micros() != 1_700_000_001_500_000 ||
		later.Sub(at) != 1500*time.Millisecond {
		t.Errorf("%d", later)
	}
}

// What counts is the clock that was ahead of the others, until what it has dated has gone.
func TestLatestIsTheClockThatWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(time.Now(), leadLife)
		if got := c.Latest(c.Elapsed()); got != 0 {
			t.Errorf("where nothing is known: %d", got)
		}
		told := func(ahead time.Duration) Time {
			now := time.Now()
			c.Observe(now, now, of(now, ahead))
			return of(now, ahead)
		}
		for _, ahead := range []time.Duration{0, 3 * time.Second, -time.Second, time.Second} {
			told(ahead)
			time.Sleep(time.Minute)
		}
		asked := c.Elapsed()
		time.Sleep(time.Minute)
		if got, want := c.Latest(asked), told(0).Add(3*time.Second-time.Minute); got != want {
			t.Errorf("latest is %d, want %d", got, want)
		}
		for range 3 {
			time.Sleep(leadLife)
			told(time.Second)
			told(0)
		}
		if got, want := c.Latest(c.Elapsed()), told(time.Second); got != want {
			t.Errorf("when the clock that was ahead has gone, latest is %d, want %d", got, want)
		}
	})
}
