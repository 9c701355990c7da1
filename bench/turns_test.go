package bench

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// turn is what a contender does when it is its turn. The contenders of a workload take turns, so that what else the
// machine does touches all alike, and the time is the median of their calls.
type turn struct {
	name string
	take func() (took []float64) // nanoseconds, of each call
	more func() []any            // units and numbers for the table; nil: none
}

// inTurns has the contenders take a number of turns; 0: until the benchmark has run for long enough. It returns each
// one's median.
func inTurns(b *testing.B, workload string, rounds int, turns ...turn) (medians []float64) {
	took := make([][]float64, len(turns))
	round := func() {
		for i, t := range turns {
			took[i] = append(took[i], t.take()...)
		}
	}
	for range rounds {
		round()
	}
	for b.Loop() {
		if rounds == 0 {
			round()
		}
	}
	for i, t := range turns {
		ns := median(took[i])
		b.ReportMetric(ns, strings.ReplaceAll(t.name, " ", "-")+"-ns/op")
		var more []any
		if t.more != nil {
			more = t.more()
		}
		results.add(workload, t.name, b.N, ns, more...)
		medians = append(medians, ns)
	}
	return medians
}

// timedCalls is what each of n calls took, one after the other.
func timedCalls(b *testing.B, n int, call func() error) []float64 {
	took := make([]float64, n)
	for i := range took {
		begun := time.Now()
		if err := call(); err != nil {
			b.Fatal(err)
		}
		took[i] = float64(time.Since(begun))
	}
	return took
}

// crowd is goroutines that call at the same time. What fails is counted: naive accessors fail some users' calls.
type crowd struct {
	call   func() error
	failed atomic.Int64
}

func (c *crowd) timed() float64 {
	begun := time.Now()
	if c.call() != nil {
		c.failed.Add(1)
	}
	return float64(time.Since(begun))
}

// rush has goroutines make n calls each, as fast as they can.
func (c *crowd) rush(goroutines, n int) []float64 {
	took := make([]float64, goroutines*n)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range n {
				took[g*n+i] = c.timed()
			}
		})
	}
	wg.Wait()
	return took
}

// pace makes n calls at a rate, each in a goroutine of its own: who waits does not keep others from coming.
func (c *crowd) pace(n int, every time.Duration) []float64 {
	took := make([]float64, n)
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range took {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * every)))
		wg.Go(func() { took[i] = c.timed() })
	}
	wg.Wait()
	return took
}

func mean(all []float64) float64 {
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	return sum / float64(len(all))
}
