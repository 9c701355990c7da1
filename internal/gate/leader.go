package gate

import (
	"context"
	"sync"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/lock"
)

// leader is one instance's attempt to bring an answer, in the steps that the package's doc has. It asks Redis without a
// context that ends, in its own goroutine: no caller waits in that, and Redis's own time-out is short.
type leader struct {
	g          *Gate
	r          *tokenRequest
	flight     *flight
	background bool
	source     source
	found      finding
	timer      *time.Timer // ends the patience of those who wait
	outcome    string

	leave   func()          // lets the next of this process to the head of the queue; nil: it was not waited for
	lease   *lock.Lease     // nil: none was had
	brought *answers.Answer // what Entra ID said, and is not kept yet
	listing sync.WaitGroup  // of the names of an app's tenant
}

// lead brings an answer, what the fleet has or what Entra ID says, and lands the flight with it. background: the answer
// that there is serves meanwhile, so nobody waits and nothing is done that another instance does already.
func (g *Gate) lead(life context.Context, r *tokenRequest, f *flight, background bool) {
	ctx, cancel := context.WithTimeout(life, AtMost)
	defer cancel()
	ctx, span := g.o.Metrics.Start(ctx, telemetry.SpanAcquire, telemetry.Grant(r.Grant), telemetry.Background(background))
	defer span.End()
	f.span = span
	l := &leader{g: g, r: r, flight: f, background: background, source: g.sourceOf(r)}
	defer l.free(ctx)
	a, due, err := l.bring(ctx)
	l.stop()
	if err != nil && l.outcome != outcomeElsewhere {
		l.outcome = outcomeFailed
	}
	if a == nil && err == nil {
		err = failure.New("the refresh is another instance's") // background only: nobody sees it
	}
	outcome, old := l.outcome, (*answers.Answer)(nil)
	switch {
	case background:
		g.o.Metrics.RefreshedAhead(ctx, outcomeAhead(outcome))
	case a != nil && !a.Good && a.Passing():
		if old = l.old(); old != nil {
			outcome = outcomeStale
		}
	}
	span.Set(telemetry.Outcome(outcome))
	asked := l.brought != nil && a == l.brought
	// The answer to a challenge is kept first: who is challenged again wants one that is not older than that.
	landsFirst := asked && a.Good && r.Kind.Policy().LandsFirst && r.Challenge == ""
	if !landsFirst {
		l.keep(ctx)
	}
	l.listing.Wait()
	for _, token := range []*answers.Answer{a, old} {
		if token == nil || !token.Good {
			continue
		}
		if left := token.Expires.Sub(g.o.Clock.Now()); !asked || left > namesLife {
			g.answers.ListNames(context.WithoutCancel(ctx), &r.Request, left)
		}
		g.noteAnswer(r, token)
	}
	f.result = result{answer: a, due: due, old: old, outcome: l.outcome, err: err}
	g.flights.land(f)
	l.keep(ctx)
}

// bring finds the answer, or asks for it.
func (l *leader) bring(ctx context.Context) (a *answers.Answer, due bool, err error) {
	g := l.g
	if err := l.look(ctx); err != nil && g.o.FailClosed {
		return nil, false, looking(err)
	}
	l.outcome = outcomeShared
	if a, due, ok := l.settled(); ok {
		return a, due, nil
	}
	l.outcome = outcomeWaited

	// One after another within this process, whatever becomes of the lease.
	waiting, stop := ctx, func() {}
	if l.found.otherRefused {
		waiting, stop = context.WithTimeout(ctx, otherRefusedAtMost)
	}
	q, leave, err := g.queues.wait(waiting, l.source.lease())
	stop()
	settled := false
	if err == nil {
		l.leave = leave
		if l.lease, settled, err = l.take(ctx, q); err != nil {
			return nil, false, err
		}
	} else if ctx.Err() != nil {
		return nil, false, err
	}
	if settled {
		a, due, _ := l.settled()
		return a, due, nil
	}
	if err := l.look(ctx); err != nil && g.o.FailClosed {
		return nil, false, looking(err)
	}
	if a, due, ok := l.settled(); ok {
		return a, due, nil
	}
	a = l.ask(ctx)
	if a != l.found.answer {
		l.outcome = outcomeOf(a)
	}
	return a, false, nil
}

// keep gives what was brought to the fleet, once.
func (l *leader) keep(ctx context.Context) {
	a := l.brought
	if a == nil {
		return
	}
	l.brought = nil
	ctx = context.WithoutCancel(ctx)
	l.source.keep(ctx, a)
	if a.Good && l.found.failures > 0 {
		l.g.answers.EndPause(ctx, l.r.ID)
	}
}

// free gives back the lease, and then leaves the queue.
func (l *leader) free(ctx context.Context) {
	l.stop()
	if l.lease != nil {
		// One that was lost is another's by now, and what was kept is ordered by stamps.
		l.g.released(ctx, l.lease.Release(ctx))
	}
	if l.leave != nil {
		l.leave()
	}
}

// look looks, and lets callers have the old token if a new one keeps them waiting.
func (l *leader) look(ctx context.Context) (err error) {
	l.found, err = l.source.look(context.WithoutCancel(ctx))
	if old := l.found.old; old != nil && l.timer == nil && !l.background {
		l.timer = time.AfterFunc(patience, func() {
			if l.g.oldServes(l.r, old) {
				l.g.noteAnswer(l.r, old)
				l.flight.serve(old)
			}
		})
	}
	return err
}

func (l *leader) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// old is the old token while it serves.
func (l *leader) old() *answers.Answer {
	if old := l.found.old; l.g.oldServes(l.r, old) {
		return old
	}
	return nil
}

// oldServes tells whether an old token may be given to who waits for a new one. It was found a while ago: its end may
// have come since then, or its removal. nil does not serve.
func (g *Gate) oldServes(r *tokenRequest, old *answers.Answer) bool {
	return old.Alive(g.o.Clock.Now()) && !g.answers.Ended(&r.Request, old)
}

// settled tells whether what was found needs no request, and what to answer: nil for a refresh in the background,
// which nobody waits for.
func (l *leader) settled() (a *answers.Answer, due, ok bool) {
	f := l.found
	switch {
	case f.answer != nil && (!f.due || !l.background):
		return f.answer, f.due, true
	case f.pause == nil:
		return nil, false, false
	case l.background:
		l.outcome = outcomeElsewhere
		return nil, false, true
	}
	l.outcome = outcomeOf(f.pause)
	return f.pause, false, true
}
