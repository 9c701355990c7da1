package gate

import (
	"context"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/lock"
)

// leader is one instance's attempt to bring an answer. It asks Redis without a context that ends, in its own goroutine:
// no caller waits in that, and Redis's own time-out is short.
//
//	look    what does the fleet have?            good: done
//	lease   may I ask?                           held: wait for the holder's answer, not for the lease
//	look    has it come meanwhile?               between the first look and the lease another may have had it
//	post    ask Entra ID
//	keep    give the answer to the fleet         before the lease is released: who gets it next looks again
type leader struct {
	g          *Gate
	r          *tokenRequest
	flight     *flight
	background bool
	begun      time.Time
	arrived    int64 // Redis's time of begun, known from the first look
	source     source
	found      finding
	timer      *time.Timer // ends the patience of those who wait
	outcome    string
}

// lead brings an answer: what the fleet has, or what Entra ID says. background: the answer that there is serves
// meanwhile, so nobody waits and nothing is done that another instance does already.
func (g *Gate) lead(life context.Context, r *tokenRequest, f *flight, background bool) (a *answer, soon bool, err error) {
	ctx, cancel := context.WithTimeout(life, AtMost)
	defer cancel()
	ctx, span := g.o.Metrics.Start(ctx, telemetry.SpanAcquire, telemetry.Grant(r.Grant), telemetry.Background(background))
	defer span.End()
	f.span = span.SpanContext()
	l := &leader{g: g, r: r, flight: f, background: background, begun: time.Now()}
	defer l.stop()
	l.source = &answerSource{leader: l}
	if r.inRecord() {
		l.source = &recordSource{leader: l, p: g.o.Store.Of(r.Lineage.Partition, true)}
	}
	a, soon, err = l.lead(ctx)
	if err != nil && !background {
		l.outcome = outcomeFailed
	}
	f.outcome = l.outcome
	span.SetAttributes(telemetry.Outcome(l.outcome))
	if a != nil && a.Good {
		g.listNames(ctx, r, a)
		g.noteAnswer(r, a)
	}
	if background {
		g.o.Metrics.RefreshedAhead(ctx, outcomeAhead(l.outcome))
	}
	if a == nil && err == nil {
		err = failure.New("the refresh is another instance's") // background only: nobody sees it
	}
	return a, soon, err
}

func (l *leader) lead(ctx context.Context) (*answer, bool, error) {
	g := l.g
	err := l.look(ctx)
	if err != nil && g.o.FailClosed {
		return nil, false, looking(err)
	}
	l.outcome = outcomeShared
	if a, soon, ok := l.settled(); ok {
		return a, soon, nil
	}
	l.outcome = outcomeWaited

	// Within this process one at a time, whatever becomes of the lease.
	waiting, stop := ctx, func() {}
	if l.found.apart {
		waiting, stop = context.WithTimeout(ctx, apartAtMost)
	}
	turn, release, err := g.turns.take(waiting, l.source.lease())
	stop()
	var lease *lock.Lease
	settled := false
	if err == nil {
		defer release()
		if lease, settled, err = l.lease(ctx, turn); err != nil {
			return nil, false, err
		}
	} else if ctx.Err() != nil {
		return nil, false, err
	}
	if settled {
		a, soon, _ := l.settled()
		return a, soon, nil
	}
	if lease != nil {
		defer func() {
			// One that was lost is another's by now, and what was kept is ordered by stamps.
			g.released(ctx, lease.Release(ctx))
		}()
	}
	if err := l.look(ctx); err != nil && g.o.FailClosed {
		return nil, false, looking(err)
	}
	if a, soon, ok := l.settled(); ok {
		return a, soon, nil
	}
	a := l.ask(ctx, lease)
	if a != l.found.answer {
		l.outcome = outcomeOf(a)
	}
	if old := l.old(); !a.Good && a.Passing() && old != nil {
		l.outcome = outcomeStale
		return old, false, nil
	}
	return a, false, nil
}

// look looks, and lets callers have the old token if a new one keeps them waiting.
func (l *leader) look(ctx context.Context) (err error) {
	l.found, err = l.source.look(context.WithoutCancel(ctx))
	if old := l.found.old; old != nil && l.timer == nil && !l.background {
		l.timer = time.AfterFunc(patience, func() {
			if old.Alive(l.g.o.Clock.Now().Micros()) {
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

// old is the old token while it lives.
func (l *leader) old() *answer {
	if old := l.found.old; old != nil && old.Alive(l.g.o.Clock.Now().Micros()) {
		return old
	}
	return nil
}

// settled tells whether what was found needs no request, and what to answer: nil for a refresh in the background,
// which nobody waits for.
func (l *leader) settled() (a *answer, soon, ok bool) {
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
	if old := l.old(); old != nil && f.pause.Passing() {
		l.outcome = outcomeStale
		return old, false, true
	}
	l.outcome = outcomeOf(f.pause)
	return f.pause, false, true
}
