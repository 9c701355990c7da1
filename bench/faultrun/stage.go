package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// stage is a run in the making.
type stage struct {
	*config
	began  time.Time
	prefix string
	world  *world
	store  *store
	fleet  *fleet
	say    io.Writer

	mu     sync.Mutex
	faults []injected
}

func (s *stage) now() time.Duration { return time.Since(s.began) }

// mine are the people whose sign-ins are a slot's affair.
func (s *stage) mine(slot int) (out []int) {
	for i, p := range s.world.people {
		if p.Assertion == "" && i%s.Terms.Workers == slot {
			out = append(out, i)
		}
	}
	return out
}

// play makes a run.
//
//	everyone signs in
//	load, and the schedule's faults; then load alone, until everybody has noticed that the last fault is over
//	rest; every worker takes a token of everyone that nobody has yet, so that everyone's refresh token is redeemed by
//	one who knows it, as it would be sooner or later: what Redis lost is written back
//	every worker closes, which flushes what waits, and says what it left running
//	a new worker, which knows nothing but what Redis knows, redeems everyone's refresh token
func play(ctx context.Context, c *config, say io.Writer) (h *history, err error) {
	fmt.Fprintf(say, "faultrun: --seed %d --topology %s --duration %v\n", c.Seed, c.Topology, c.Duration)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &stage{config: c, began: time.Now(), prefix: "faultrun-" + uuid.NewString()[:8], say: say}
	if s.world, err = newWorld(s.began, c.Tenants, c.Users, c.Behalf, c.Terms); err != nil {
		return nil, err
	}
	defer s.world.entra.Close()
	if s.store, err = openStore(c.Topology); err != nil {
		return nil, err
	}
	defer s.store.close()
	binaries, clean, err := binaries(ctx, c)
	if err != nil {
		return nil, err
	}
	defer clean()
	key, err := serializer.GenerateKey("faultrun")
	if err != nil {
		return nil, err
	}
	s.fleet = &fleet{began: s.began, binaries: binaries, patience: patience(c.Users), base: setup{
		Began: s.began.UnixNano(), Redis: s.store.endpoint, Prefix: s.prefix, Keys: key.Export(),
		Entra: s.world.entra.Host(), CA: string(s.world.entra.CAPEM()), Secret: s.world.secret, Other: s.world.other,
		Mix: c.Mix, Seed: c.Seed, Goroutines: c.Load, Pause: c.Pause, Verbose: c.Verbose, Tenants: s.world.tenants,
		People: s.world.people, Terms: c.Terms,
	}}
	defer s.fleet.stop()
	go beat(func(late time.Duration) { s.fleet.busy(-1, s.now()-late, s.now()) }) // here live Entra ID and the proxies
	for slot := range c.Terms.Workers {
		p, err := s.fleet.start(ctx, slot, s.mine(slot))
		if err != nil {
			return nil, err
		}
		s.fleet.slots = append(s.fleet.slots, p)
	}
	for _, what := range []string{"signin", "load"} {
		if err := s.fleet.all(ctx, what); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(say, "faultrun: %d users have signed in (%.1f s); the faults begin\n", c.Users, s.now().Seconds())
	if err := s.inject(ctx, schedule(c.Seed, c.Topology, c.Duration, c.Only, c.Neighbours)); err != nil {
		return nil, err
	}
	if !workers.Sleep(ctx, recovery+s.Terms.LocalTTL) {
		return nil, ctx.Err()
	}
	for _, what := range []string{"rest", "rollcall", "close"} {
		if err := s.fleet.all(ctx, what); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, p := range s.fleet.slots {
		if err := p.end(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.verify(ctx); err != nil {
		return nil, err
	}
	return s.history(), nil
}

func (s *stage) verify(ctx context.Context) error {
	p, err := s.fleet.start(ctx, 0, nil)
	if err != nil {
		return err
	}
	s.fleet.slots = append(s.fleet.slots, p)
	for _, what := range []string{"verify", "close"} {
		if err := p.do(ctx, what); err != nil {
			return err
		}
	}
	return p.end(ctx)
}

// patience is how long a worker may take for an order, of which the longest is a call for everyone: many times what it
// takes on a busy machine, and less than anybody waits for a run that hangs.
func patience(users int) time.Duration {
	return 2*time.Minute + time.Duration(users)*200*time.Millisecond
}

func (s *stage) history() *history {
	h := &history{Terms: s.Terms, Redis: s.store.version(), Clocks: s.Clocks, Calls: s.fleet.calls,
		Requests: s.world.requests(), Faults: s.faults}
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	h.Busy = append(h.Busy, s.fleet.late...)
	for _, a := range s.fleet.away {
		if a.End == 0 {
			a.End = s.now()
		}
		h.Busy = append(h.Busy, a)
	}
	for _, l := range s.fleet.lives {
		h.Lives = append(h.Lives, *l)
	}
	h.Spilled = spilled(s.fleet.said, append(s.world.entra.Secrets(), s.world.secret, s.world.other, s.fleet.base.Keys))
	return h
}

// inject injects the faults of a schedule. Each has what it takes hold of to itself, also where one took longer than
// was planned.
func (s *stage) inject(ctx context.Context, plan []planned) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	holds := map[string]*sync.Mutex{}
	for _, k := range kinds {
		holds[k.on] = &sync.Mutex{}
	}
	begun := time.Now()
	var wg sync.WaitGroup
	for _, p := range plan {
		if !workers.Sleep(ctx, time.Until(begun.Add(p.At))) {
			break
		}
		wg.Go(func() {
			k := kindNamed(p.Kind)
			holds[k.on].Lock()
			defer holds[k.on].Unlock()
			if ctx.Err() != nil || k.neighbour && time.Since(begun)+p.Hold > s.Duration {
				return // neighbours wait for one another, and on a busy machine each takes its time
			}
			if err := s.one(ctx, k, p); err != nil {
				cancel(fmt.Errorf("%s: %w", p.Kind, err))
			}
		})
	}
	workers.Sleep(ctx, time.Until(begun.Add(s.Duration)))
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return ctx.Err()
}

func (s *stage) one(ctx context.Context, k *kind, p planned) (err error) {
	defer caught(&err)
	if k.on == onRedis {
		if err := s.store.agreed(ctx); err != nil {
			return err
		}
	}
	f := injected{Kind: k.name, Start: s.now(), Worker: -1}
	var heal func(context.Context) error
	if err := s.store.whole(ctx, func() (err error) {
		heal, err = k.inject(ctx, s, rand.New(rand.NewPCG(p.Seed, 2)), &f)
		return err
	}); err != nil {
		return err
	}
	workers.Sleep(ctx, p.Hold)
	if err := s.store.whole(ctx, func() error { return heal(context.WithoutCancel(ctx)) }); err != nil {
		return err
	}
	f.End = s.now()
	s.mu.Lock()
	s.faults = append(s.faults, f)
	s.mu.Unlock()
	fmt.Fprintf(s.say, "%7.2f s  %-22s %5.2f s  %s\n", f.Start.Seconds(), f.Kind, (f.End - f.Start).Seconds(), f.Note)
	return nil
}

// binaries are the executables of the slots: this one, and for two of them one whose clock is off.
func binaries(ctx context.Context, c *config) (of func(slot int) (string, int), clean func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	if !c.Clocks {
		return func(int) (string, int) { return self, 0 }, func() {}, nil
	}
	shifted, clean, err := buildShifted(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(slot int) (string, int) {
		switch slot {
		case 1:
			return shifted, 600
		case 2:
			return shifted, -600
		}
		return self, 0
	}, clean, nil
}
