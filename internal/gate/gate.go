package gate

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/discovery"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const (
	// AtMost bounds a request at the gate: a lease that others hold, and two requests of postAtMost.
	AtMost = 75 * time.Second
	// postAtMost bounds one request, as MSAL bounds its own where the caller's context has no deadline.
	postAtMost = 30 * time.Second
	// patience is how long callers wait for a new token while the old one, in the last five minutes of its life, would
	// do: a healthy Entra ID answers within it.
	patience = 2 * time.Second
	// holderAtMost is how long a caller waits for an instance that holds the lease and brings nothing, before it asks as
	// well; up to half of it is added, by chance. A healthy Entra ID answers well within it, and so does one that is
	// merely slow.
	holderAtMost = 5 * time.Second
)

// Options are what a Gate is made with; all are needed.
type Options struct {
	Name       string // says which gate this is where one is printed
	Names      layout.Names
	Serializer serializer.Serializer // a panic of it is an error
	Redis      *redisop.Redis
	Store      *tokenstore.Store
	Clock      *redistime.Clock
	Metrics    telemetry.Recorder
	Log        telemetry.Logger
	Tokens     *issued.Tokens
	Lineages   *issued.Lineages
	OnBehalfOf *issued.OnBehalfOf
	// Listen makes removals of other instances heard; it is called at the first token request, and at each.
	Listen func()

	RefreshAt  float64       // the share of a token's usable life after which it is due
	LockTTL    time.Duration // the life of a lease
	FailClosed bool          // errors of Redis fail a request
	LocalBytes int64         // of the answers that are remembered
	LocalTTL   time.Duration // for how long they serve without Redis's being asked

	Life    context.Context // ends with the Gate
	Workers *workers.Group
}

// Gate brings tokens: one request for all who want the same.
type Gate struct {
	o         Options
	answers   *answers.Shared
	flights   *flights
	documents *discovery.Documents
	queues    queues
	calls     workers.Group // of base transports, which may not end when their contexts do
	used      atomic.Bool
}

// New makes a Gate. It asks nobody anything.
func New(o Options) *Gate {
	return &Gate{
		o: o, flights: newFlights(), documents: discovery.New(o.LocalBytes),
		answers: answers.New(answers.Options{
			Names: o.Names, Serializer: o.Serializer, Redis: o.Redis, Store: o.Store, Clock: o.Clock,
			Metrics: o.Metrics, Log: o.Log, LocalBytes: o.LocalBytes, LocalTTL: o.LocalTTL,
		}),
	}
}

// Transport is the gate before a base transport, which is not nil.
func (g *Gate) Transport(base http.RoundTripper) http.RoundTripper {
	g.used.Store(true)
	return &transport{g, base}
}

// Used tells whether Transport has been called.
func (g *Gate) Used() bool { return g.used.Load() }

// Forget forgets what this process knows of a partition, and keeps new callers from what is on its way to it.
func (g *Gate) Forget(partition layout.ID) {
	g.answers.Forget(partition)
	g.flights.forget(partition)
}

// AnswersSize and DocumentsSize are what answers and discovery documents take of memory, in bytes.
func (g *Gate) AnswersSize() int64   { return g.answers.Size() }
func (g *Gate) DocumentsSize() int64 { return g.documents.Size() }

// Settle waits until what callers were given is kept for the fleet too, or ctx ends.
func (g *Gate) Settle(ctx context.Context) { g.flights.settle(ctx) }

// Close waits for base transports, for a second at most, after the Gate's life has ended.
func (g *Gate) Close() {
	if !g.calls.CloseWithin(closeAtMost) {
		g.o.Log.Warn("a base transport goes on although its context has ended; Close does not wait for it")
	}
	g.documents.Close()
}

// background runs f with a context that ends with the Gate; false: it has ended.
func (g *Gate) background(f func(context.Context)) bool {
	return g.o.Workers.Run(func() { f(g.o.Life) })
}

// elapsed is the time since the process's start.
func (g *Gate) elapsed() time.Duration { return time.Duration(g.o.Clock.Elapsed()) }
