package msalredis

import (
	"sync"
	"time"
)

// group are the goroutines of a Cache. None starts after it was closed, and closing waits for all.
type group struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// run starts f; false: the group is closed.
func (g *group) run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// join counts the calling goroutine as one of the group until it leaves; false: the group is closed.
func (g *group) join() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	return true
}

func (g *group) leave() { g.wg.Done() }

func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}

// closeWithin closes the group and waits for d at most; false: some have not ended.
func (g *group) closeWithin(d time.Duration) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.close()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// atOnce has a bounded cache (otter) do its upkeep in the goroutine that wrote: a microsecond, where a goroutine of its own
// would wake a thread at each write, which takes the processor that Redis was about to answer on.
func atOnce(upkeep func()) { upkeep() }
