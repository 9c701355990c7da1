package harness

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

// Process is a worker in a process of its own.
type Process struct {
	t     *testing.T
	child *subprocess.Child[Order, Outcome]
}

// patience is how long a worker may take for an order: many times what one takes on a busy machine.
const patience = 5 * time.Minute

// within hands f a context that ends with patience.
func within[T any](f func(context.Context) T) T {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return f(ctx)
}

func (p *Process) Hello() {
	p.t.Helper()
	if err := within(p.child.Ready); err != nil {
		p.t.Fatal(err)
	}
}

// Send gives a worker its order without waiting for the answer.
func (p *Process) Send(o Order) {
	p.t.Helper()
	if err := within(func(ctx context.Context) error { return p.child.Send(ctx, o) }); err != nil {
		p.t.Error(err)
	}
}

// Receive waits for the answer to an order.
func (p *Process) Receive() Outcome {
	p.t.Helper()
	return within(func(ctx context.Context) Outcome {
		o, err := p.child.Receive(ctx)
		if err != nil {
			return Outcome{Errors: []string{err.Error()}}
		}
		for _, e := range o.Errors {
			Canary.sawErrorText(e)
		}
		return o
	})
}

func (p *Process) Do(o Order) Outcome {
	p.t.Helper()
	p.Send(o)
	return p.Receive()
}

func (p *Process) Kill() { p.child.Kill() }

func (p *Process) End() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // else Close hangs
	defer cancel()
	if err := p.child.End(ctx); err != nil {
		p.t.Error(err)
	}
}

// Processes starts n workers on the world. They are ended with the test.
func (w *World) Processes(n int, change ...func(*WorkerConfig)) []*Process {
	w.T.Helper()
	var all []*Process
	for range n {
		cfg := WorkerConfig{
			Redis: w.Redis.Address, Prefix: w.Prefix, Keys: w.Keys, Entra: w.Entra.Host(), CA: string(w.Entra.CAPEM()),
		}
		for _, f := range change {
			f(&cfg)
		}
		all = append(all, StartProcess(w.T, os.Args[0], cfg))
	}
	for _, p := range all {
		p.Hello()
	}
	return all
}

func StartProcess(t *testing.T, binary string, cfg WorkerConfig, env ...string) *Process {
	t.Helper()
	child, err := subprocess.Start[Order, Outcome](subprocess.Spec{
		Role: workerRole, Name: "worker", Command: []string{binary}, Env: env, Setup: cfg,
		Log: Canary, // what a worker logs, the canary reads
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t, child}
	t.Cleanup(p.End)
	return p
}

// DoAll gives the same order to every worker at once.
func DoAll(ps []*Process, o Order) []Outcome {
	for _, p := range ps {
		p.Send(o)
	}
	var outcomes []Outcome
	for _, p := range ps {
		outcomes = append(outcomes, p.Receive())
	}
	return outcomes
}

// SameToken checks that no outcome has an error and that all have one token.
func SameToken(t *testing.T, outcomes []Outcome) {
	t.Helper()
	tokens := map[string]bool{}
	for _, o := range outcomes {
		for _, e := range o.Errors {
			t.Errorf("worker: %s", e)
		}
		for _, token := range o.Tokens {
			tokens[token] = true
		}
	}
	if len(tokens) != 1 {
		t.Errorf("%d different tokens, want one", len(tokens))
	}
}
