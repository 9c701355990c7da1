package msalredis

import "sync"

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

func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
