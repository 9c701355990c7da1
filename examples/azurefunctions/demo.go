package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

// scaling is how far and how fast an app scales out.
type scaling struct {
	instances int
	goroutine int              // invocations at once on each instance
	kill      func(n int) bool // whether to kill the oldest instance when the n-th has started, from 1
	started   func(n int)      // called when the n-th instance has started and is under load
}

// outcome is what it came to.
type outcome struct {
	killed        int
	done, lost    int64 // rounds of all functions; lost with the instance that ran them
	failed        error // of others, which there should be none
	tokenRequests int64 // as counted by the instances
}

// scaleOut starts one instance after another, with all that live under load, and kills some under it.
func scaleOut(ctx context.Context, settings []string, sc scaling) (o outcome, err error) {
	var (
		live       []*instance
		load       sync.WaitGroup
		done, lost atomic.Int64
		mu         sync.Mutex
		failures   []error
	)
	defer func() {
		for _, i := range live {
			i.kill()
		}
	}()
	// round invokes everything on all instances. first is closed when one of them has answered.
	round := func(victim *instance) (first chan struct{}) {
		first = make(chan struct{})
		var once sync.Once
		for _, i := range live {
			for range sc.goroutine {
				load.Go(func() {
					err := i.invokeAll(ctx)
					once.Do(func() { close(first) })
					switch {
					case err == nil:
						done.Add(1)
					case i == victim:
						lost.Add(1)
					default:
						mu.Lock()
						failures = append(failures, err)
						mu.Unlock()
					}
				})
			}
		}
		return first
	}
	for n := 1; n <= sc.instances && ctx.Err() == nil; n++ {
		i, err := startInstance(ctx, settings)
		if err != nil {
			load.Wait()
			return o, err
		}
		live = append(live, i)
		if !sc.kill(n) {
			round(nil)
			sc.started(n)
			continue
		}
		load.Wait()
		victim := live[0]
		s, err := victim.status(ctx)
		if err != nil {
			return o, err
		}
		o.tokenRequests += s.TokenRequests
		<-round(victim)
		victim.kill()
		live = live[1:]
		o.killed++
		sc.started(n)
	}
	load.Wait()
	for _, i := range live {
		s, err := i.status(ctx)
		if err != nil {
			return o, err
		}
		o.tokenRequests += s.TokenRequests
	}
	o.done, o.lost, o.failed = done.Load(), lost.Load(), errors.Join(failures...)
	return o, ctx.Err()
}

// demonstrate scales out as fast as Azure does, an instance a second, to ten.
func demonstrate(ctx context.Context, out io.Writer) error {
	w, err := standin.Open(example, os.Getenv)
	if err != nil {
		return err
	}
	defer w.Close()
	o, err := scaleOut(ctx, w.Environ(), scaling{
		instances: 10,
		goroutine: 8,
		kill:      func(n int) bool { return n%3 == 0 },
		started: func(n int) {
			fmt.Fprintf(out, "%d instances started\n", n)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of them killed under load; every function run %d times, lost with a killed instance %d times\n",
		o.killed, o.done, o.lost)
	fmt.Fprintf(out, "token requests sent: %d, for 2 tokens\n", o.tokenRequests)
	return o.failed
}
