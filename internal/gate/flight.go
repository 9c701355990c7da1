package gate

import (
	"context"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// A flight is one answer in the making, for all callers of one identity in this process. It is bound to none of
// them: each leaves when its own context ends, and the flight goes on, because the token that it brings may be
// a refresh token's only successor.
type flight struct {
	pids []id
	span trace.SpanContext // of what brings the answer; set before early or done is closed
	done chan struct{}
	// early is closed when the answer has kept its callers waiting for long, and stopgap serves them meanwhile.
	early   chan struct{}
	stopgap *answer

	// Set before done is closed:
	answer  *answer
	soon    bool   // the answer is due, and being refreshed
	outcome string // how it came, see outcomeAsked
	err     error
}

type flights struct {
	mu  sync.Mutex
	all map[string]*flight
}

func newFlights() *flights { return &flights{all: map[string]*flight{}} }

// join is the flight of a name; where there is none it starts lead, with a context that ends with the Cache, and says
// so. nil: the Cache is closed.
func (fs *flights) join(g *Gate, name string, pids []id, lead func(context.Context, *flight)) (f *flight, started bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.all[name]; f != nil {
		return f, false
	}
	f = &flight{pids: pids, done: make(chan struct{}), early: make(chan struct{})}
	if !g.background(func(ctx context.Context) {
		f.err = errGone // unless lead returns
		defer func() {
			fs.mu.Lock()
			if fs.all[name] == f {
				delete(fs.all, name)
			}
			fs.mu.Unlock()
			close(f.done)
		}()
		lead(ctx, f)
	}) {
		return nil, false
	}
	fs.all[name] = f
	return f, true
}

// forget keeps new callers from joining flights whose tokens are being removed, or may be: whose they are is known from the
// answer only.
func (fs *flights) forget(pid id) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for name, f := range fs.all {
		if len(f.pids) == 0 || slices.Contains(f.pids, pid) {
			delete(fs.all, name)
		}
	}
}

// wait waits for the flight or for ctx. soon: the answer is due, and is to be refreshed. now is Redis's time: who comes when the
// stopgap's life is over waits on.
func (f *flight) wait(ctx context.Context, now func() int64) (a *answer, soon bool, outcome string, err error) {
	select {
	case <-f.done:
		return f.answer, f.soon, f.outcome, f.err
	default:
	}
	select {
	case <-f.done:
		return f.answer, f.soon, f.outcome, f.err
	case <-f.early:
		if f.stopgap.Alive(now()) {
			return f.stopgap, false, outcomeStale, nil
		}
	case <-ctx.Done():
		return nil, false, outcomeLeft, ctx.Err()
	}
	select {
	case <-f.done:
		return f.answer, f.soon, f.outcome, f.err
	case <-ctx.Done():
		return nil, false, outcomeLeft, ctx.Err()
	}
}

// serve gives an answer to all who wait and to those who come until the flight has ended.
func (f *flight) serve(a *answer) {
	f.stopgap = a
	close(f.early)
}
