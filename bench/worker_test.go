package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

// A worker is one process of a contender: this test binary once more, or a program of another language.

const contenderRole = "contender"

// place is where a process finds what it needs.
type place struct {
	Contender, Redis, Keys, Entra, CA, ClientID, Secret string
}

// order is something to do.
type order struct {
	Op     string // warm: discovery; burst: N callers at once; hits, cold: N calls; load: calls at a rate
	Tenant string
	Scope  string
	N      int
	Begin  time.Time     // load: when the first call is due
	For    time.Duration // load
	Rate   int           // load: calls a second
}

// outcome is what came of it.
type outcome struct {
	Took        time.Duration // burst: of the slowest caller; hits, cold: of all N
	EndedMicros int64         // burst: when the last caller had its token, in microseconds since 1970
	Calls       []sample      // load
	Error       string
}

// sample is a call: when it was due, counted from the load's begin, and how long it took.
type sample struct{ Due, Took time.Duration }

type worker = subprocess.Child[order, outcome]

// patience is how long a worker may take for an order, which lasts for minutes at most.
const patience = 10 * time.Minute

// spawn starts n processes of a contender and waits until each is ready and knows the tenant's endpoints.
func (w *world) spawn(b *testing.B, n int, contender, tenant string, program ...string) []*worker {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	workers := make([]*worker, n)
	for i := range workers {
		p, err := subprocess.Start[order, outcome](subprocess.Spec{
			Role: contenderRole, Name: contender, Command: program,
			Setup: place{contender, w.redis.Addr(), w.keys, w.entra.Host(), string(w.entra.CAPEM()), clientID, secret},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := p.End(ctx); err != nil {
				b.Error(err)
			}
		})
		workers[i] = p
	}
	for _, p := range workers {
		if err := p.Ready(ctx); err != nil {
			b.Fatal(err)
		}
	}
	if tenant != "" {
		tell(b, workers, order{Op: "warm", Tenant: tenant})
	}
	return workers
}

// tell gives all the same order, at once, and waits for what comes of it.
func tell(b *testing.B, workers []*worker, o order) []outcome {
	if o.Scope == "" {
		o.Scope = graph
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	outcomes := make([]outcome, len(workers))
	var wg sync.WaitGroup
	for i, p := range workers {
		wg.Go(func() {
			var err error
			if outcomes[i], err = p.Do(ctx, o); err != nil || outcomes[i].Error != "" {
				b.Errorf("%s: %v %s", o.Op, err, outcomes[i].Error)
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return outcomes
}

// work is a worker's main.
func work() int { return subprocess.Serve(startContender) }

func startContender(parent *subprocess.Parent[order, outcome], at place) (work func(), err error) {
	base, err := entratest.Transport(at.Entra, []byte(at.CA))
	if err != nil {
		return nil, err
	}
	var p process
	for _, c := range []contender{memory, naively, locked, alone, library} {
		if c.name == at.Contender {
			if p, err = c.start(at, base); err != nil {
				return nil, err
			}
		}
	}
	if p.http == nil {
		return nil, fmt.Errorf("there is no contender %q", at.Contender)
	}
	h := &hand{process: p, apps: map[string]confidential.Client{}}
	return func() {
		if p.close != nil {
			defer p.close()
		}
		parent.Answer(func(o order) outcome {
			out, err := h.do(o)
			if err != nil {
				out.Error = err.Error()
			}
			return out
		})
	}, nil
}

// hand does what a worker is told.
type hand struct {
	process
	apps map[string]confidential.Client
}

func (h *hand) app(tenant string) (confidential.Client, error) {
	app, ok := h.apps[tenant]
	if !ok {
		var err error
		if app, err = h.newApp("https://login.microsoftonline.com/" + tenant); err != nil {
			return app, err
		}
		h.apps[tenant] = app
	}
	return app, nil
}

func (p process) newApp(authority string) (confidential.Client, error) {
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return confidential.Client{}, err
	}
	opts := []confidential.Option{confidential.WithHTTPClient(p.http)}
	if p.accessor != nil {
		opts = append(opts, confidential.WithCache(p.accessor))
	}
	return confidential.New(authority, clientID, cred, opts...)
}

func (h *hand) acquire(app confidential.Client, scope string) error {
	ctx := context.Background()
	call := func() error {
		_, err := app.AcquireTokenByCredential(ctx, []string{scope})
		return err
	}
	if h.around != nil {
		return h.around(ctx, call)
	}
	return call()
}

func (h *hand) do(o order) (out outcome, err error) {
	app, err := h.app(o.Tenant)
	if err != nil {
		return out, err
	}
	begun := time.Now()
	switch o.Op {
	case "warm":
		_, err = app.AuthCodeURL(context.Background(), clientID, redirectURI, []string{userScope})
	case "burst":
		err = together(o.N, func(int) error { return h.acquire(app, o.Scope) })
		out.Took, out.EndedMicros = time.Since(begun), time.Now().UnixMicro()
	case "hits":
		for range o.N {
			if err := h.acquire(app, o.Scope); err != nil {
				return out, err
			}
		}
		out.Took = time.Since(begun)
	case "cold":
		for range o.N {
			app, err := h.newApp("https://login.microsoftonline.com/" + o.Tenant)
			if err != nil {
				return out, err
			}
			begun := time.Now()
			if err := h.acquire(app, o.Scope); err != nil {
				return out, err
			}
			out.Took += time.Since(begun)
		}
	case "load":
		out.Calls, err = h.load(app, o)
	default:
		err = fmt.Errorf("there is no order %q", o.Op)
	}
	return out, err
}

// load makes calls at a rate, each in a goroutine of its own: who waits does not keep others from coming.
func (h *hand) load(app confidential.Client, o order) ([]sample, error) {
	n := int(o.For.Seconds() * float64(o.Rate))
	calls := make([]sample, n)
	return calls, together(n, func(i int) error {
		due := o.For * time.Duration(i) / time.Duration(n)
		time.Sleep(time.Until(o.Begin.Add(due)))
		begun := time.Now()
		err := h.acquire(app, o.Scope)
		calls[i] = sample{due, time.Since(begun)}
		return err
	})
}

func together(n int, call func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- call(i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
