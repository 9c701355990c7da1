package gate

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// A flight is one answer in the making, for all callers of one identity in this process. It is bound to none of
// them: each leaves when its own context ends, and the flight goes on, because the token that it brings may be
// a refresh token's only successor.
//
// It lands when its answer can be given to those who wait, and is over when the answer is kept and the lease is free.
type flight struct {
	name       string
	partitions []id
	span       telemetry.Span  // of what brings the answer; set before impatient or landed is closed
	impatient  chan struct{}   // closed when callers have waited for so long that the old token serves them
	old        *answers.Answer // set before impatient is closed
	landed     chan struct{}
	result     result // set before landed is closed
	over       chan struct{}
}

// result is what a caller of a flight gets.
type result struct {
	answer  *answers.Answer
	due     bool            // it serves, and is to be refreshed
	old     *answers.Answer // the token that serves in the place of a failure, while it does; nil: none
	outcome string          // how the answer came, see outcomeAsked
	err     error
}

type flights struct {
	mu      sync.Mutex
	open    map[string]*flight // those that new callers join
	leaving map[*flight]bool   // those that have landed and are not over
}

func newFlights() *flights {
	return &flights{open: map[string]*flight{}, leaving: map[*flight]bool{}}
}

// join is the flight of a name; where there is none it starts lead, with a context that ends with the Gate, and says
// so. lead lands it. nil: the Gate has ended.
func (fs *flights) join(
	g *Gate, name string, partitions []id, lead func(context.Context, *flight),
) (f *flight, started bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.open[name]; f != nil {
		return f, false
	}
	f = &flight{
		name: name, partitions: partitions,
		impatient: make(chan struct{}), landed: make(chan struct{}), over: make(chan struct{}),
		result: result{err: errGone}, // unless lead says otherwise
	}
	if !g.background(func(ctx context.Context) {
		defer func() {
			fs.land(f)
			fs.mu.Lock()
			delete(fs.leaving, f)
			fs.mu.Unlock()
			close(f.over)
		}()
		lead(ctx, f)
	}) {
		return nil, false
	}
	fs.open[name] = f
	return f, true
}

// land gives the answer to those who wait. Who comes from now on begins another flight, which waits in the queue until
// this one is over, and then finds what it has kept.
func (fs *flights) land(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.leaving[f] {
		return
	}
	fs.leaving[f] = true
	if fs.open[f.name] == f {
		delete(fs.open, f.name)
	}
	close(f.landed)
}

// settle waits until the flights that have landed are over, or ctx ends.
func (fs *flights) settle(ctx context.Context) {
	fs.mu.Lock()
	leaving := slices.Collect(maps.Keys(fs.leaving))
	fs.mu.Unlock()
	for _, f := range leaving {
		select {
		case <-f.over:
		case <-ctx.Done():
			return
		}
	}
}

// forget keeps new callers from joining flights whose tokens are being removed, or may be: whose they are is known from
// the answer only.
func (fs *flights) forget(partition id) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for name, f := range fs.open {
		if len(f.partitions) == 0 || slices.Contains(f.partitions, partition) {
			delete(fs.open, name)
		}
	}
}

// wait waits for the flight or for ctx. oldServes tells whether an old token may be given now; where it may not, the
// caller waits on, or gets what has come in its place.
func (f *flight) wait(ctx context.Context, oldServes func(*answers.Answer) bool) result {
	landed := func() result {
		if r := f.result; r.old == nil || !oldServes(r.old) {
			return r
		}
		return result{answer: f.result.old, outcome: outcomeStale}
	}
	select {
	case <-f.landed: // before the rest, which may have come as well
		return landed()
	default:
	}
	for impatient := f.impatient; ; impatient = nil {
		select {
		case <-f.landed:
			return landed()
		case <-ctx.Done():
			return result{outcome: outcomeLeft, err: ctx.Err()}
		case <-impatient:
			if oldServes(f.old) {
				return result{answer: f.old, outcome: outcomeStale}
			}
		}
	}
}

// serve gives the old token to all who wait and to those who come until the flight has ended.
func (f *flight) serve(old *answers.Answer) {
	f.old = old
	close(f.impatient)
}
