package msalredis

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
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
	c          *Cache
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

// finding is what a look finds.
type finding struct {
	answer *answer // may be given at once; nil: nothing
	due    bool    // it should be refreshed
	// old is a token with life left that MSAL would not keep any more: for when Entra ID does not answer.
	old      *answer
	pause    *answer // the outcome after which nobody should ask yet
	failures int     // in a row, and recently
	// apart: another credential was refused for the same identity. This one may be refused too, and the next: nobody waits for
	// their turns for longer than apartAtMost.
	apart bool
}

// heed takes a pause that was found as what it is for a request: applies tells whether a refusal of what it asked for is.
func (f *finding) heed(r *tokenRequest, p *answer, us int64, applies func(*answer) bool) {
	if p == nil {
		return
	}
	f.failures = p.Failures
	switch {
	case p.Until <= us:
	case p.CredentialRefused():
		if f.apart = p.Of != r.Credential.Exact; !f.apart {
			f.pause = p
		}
	case p.Passing() || applies(p):
		f.pause = p
	}
}

// source is where a request's answers are found and kept.
type source interface {
	// look is what there is. An error says only that Redis did not tell.
	look(ctx context.Context) (finding, error)
	// lease is the id under whose lease the request is made.
	lease() id
	// form is what to post, after a look.
	form() (url.Values, *answer)
	// keep takes in what came.
	keep(ctx context.Context, a *answer)
	// moved tells, after a refusal, whether another token is to be tried.
	moved(ctx context.Context, sent url.Values) bool
}

func (l *leader) lead(ctx context.Context) (*answer, bool, error) {
	c := l.c
	err := l.look(ctx)
	if err != nil && c.o.FailClosed {
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
	turn, release, err := c.turns.take(waiting, l.source.lease())
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
			c.released(ctx, lease.Release(ctx))
		}()
	}
	if err := l.look(ctx); err != nil && c.o.FailClosed {
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
			if old.Alive(l.c.clock.Now().Micros()) {
				l.c.noteAnswer(l.r, old)
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
	if old := l.found.old; old != nil && old.Alive(l.c.clock.Now().Micros()) {
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

// lease takes the lease, or waits until what the holder has brought settles the matter. nil and not settled: go on
// without.
//
// A holder that lives and brings nothing may have lost its way to Entra ID while ours is well. Whoever has waited for holderAtMost asks
// without the lease, and so does who comes after it in the turn: one at a time in each process.
func (l *leader) lease(ctx context.Context, turn *turn) (lease *lock.Lease, settled bool, err error) {
	c, key := l.c, l.c.keys.Lock(l.source.lease())
	ctx, span := c.metrics.Start(ctx, telemetry.SpanLock)
	var waiting time.Time // since when another has been holding the lease
	var enough time.Time
	outcome := "unavailable"
	defer func() {
		switch {
		case lease != nil:
			outcome = "taken"
		case settled:
			outcome = "answered"
		case outcome == "alone":
		case ctx.Err() != nil:
			outcome = outcomeLeft
		}
		if !waiting.IsZero() {
			c.metrics.LockWaited(ctx, outcome, waiting)
		}
		span.SetAttributes(telemetry.Outcome(outcome))
		span.End()
	}()
	var wake *lock.Subscription
	defer func() {
		if wake != nil {
			wake.Close()
		}
	}()
	for {
		if c.redis.Breaker.IsOpen() {
			if c.o.FailClosed {
				return nil, false, leasing(redisop.ErrAway)
			}
			return nil, false, nil
		}
		lease, err := c.redis.TryLease(ctx, key)
		switch {
		case err == nil:
			turn.alone = false
			return lease, false, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case errors.Is(err, redisop.ErrAway):
			continue
		case !errors.Is(err, lock.ErrHeld) && !errors.Is(err, lock.ErrLost):
			c.log.Warn("no lease can be had; the token is asked for without", "error", err)
			if c.o.FailClosed {
				return nil, false, leasing(err)
			}
			return nil, false, nil
		case l.background:
			outcome, l.outcome = outcomeElsewhere, outcomeElsewhere
			return nil, false, failure.New("another instance refreshes")
		}
		if waiting.IsZero() {
			waiting = time.Now()
			enough = waiting.Add(holderAtMost + rand.N(holderAtMost/2)) // where many wait, the first to ask serves the rest
		}
		if turn.alone = turn.alone || time.Now().After(enough); turn.alone {
			outcome = "alone"
			return nil, false, nil
		}
		if wake == nil {
			// Subscribed first, then one more look: what comes between is not missed.
			if wake, err = c.redis.Releases(ctx, key); err != nil {
				wake = nil
				if !workers.Sleep(ctx, 50*time.Millisecond+rand.N(50*time.Millisecond)) {
					return nil, false, ctx.Err()
				}
			}
		} else {
			often := c.o.LockTTL / 20
			if c.redis.Queues() { // those who have the leases come first: who waits is woken by them
				often *= 10
			}
			poll := time.NewTimer(min(often+rand.N(often), time.Until(enough)+time.Millisecond))
			select {
			case <-wake.C():
			case <-poll.C:
			case <-ctx.Done():
			}
			poll.Stop()
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if err := l.look(ctx); err != nil && c.o.FailClosed {
			return nil, false, looking(err)
		}
		if l.found.answer != nil || l.found.pause != nil {
			return nil, true, nil
		}
		if l.found.apart && time.Since(waiting) > apartAtMost {
			return nil, false, nil
		}
	}
}

// apartAtMost is how long a caller waits for those of another credential, once one of them has been refused.
const apartAtMost = time.Second

func looking(err error) error { return failure.Closed("looking for a shared answer", err) }
func leasing(err error) error { return failure.Closed("taking the lease", err) }

// ask asks Entra ID, once more where that failed for a passing reason, and keeps what came.
func (l *leader) ask(ctx context.Context, lease *lock.Lease) *answer {
	c := l.c
	if c.hooks.beforePost != nil {
		c.hooks.beforePost(l.r.ID)
	}
	var a *answer
	retried := false
	for {
		form, local := l.source.form()
		if local != nil {
			return local
		}
		a = l.post(ctx, form)
		if ctx.Err() != nil && a.err != nil {
			return a
		}
		if lease != nil {
			a.Stamp = max(lease.Fence(), 1)
		}
		if a.OAuthError() == "invalid_grant" && !a.Passing() && l.source.moved(context.WithoutCancel(ctx), form) && !retried {
			retried = true
			continue
		}
		// Where our own way to Entra ID has failed before, the pause is enough of a try.
		if a.WorthRetrying() && !retried && !(a.Own && l.found.failures > 0) {
			retried = true
			if !workers.Sleep(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond)) {
				return a
			}
			// While we failed, another instance may have asked.
			failures := l.found.failures
			if l.look(ctx) == nil && l.found.answer != nil && !l.found.due {
				return l.found.answer
			}
			l.found.failures = max(l.found.failures, failures)
			continue
		}
		break
	}
	a.Judge()
	if a.Good {
		if l.r.Kind.Policy().Repeats || a.Member("refresh_token") != "" {
			a.AddRefreshIn(c.o.RefreshAt)
		}
	} else {
		a.PauseAfter(l.found.failures, time.Now())
		l.tell(a)
	}
	if c.hooks.afterPost != nil {
		c.hooks.afterPost(l.r.ID)
	}
	l.source.keep(context.WithoutCancel(ctx), a)
	if a.Good && l.found.failures > 0 {
		c.endPause(context.WithoutCancel(ctx), l.r.ID)
	}
	return a
}

// tell tells the log of an outcome without a token, once for those who find the pause: the fleet, or this process.
func (l *leader) tell(a *answer) {
	c := l.c
	args := []any{"grant", l.r.Grant, "error", tokenFailure(a), "pause", time.Duration(a.Until-a.Received) * time.Microsecond}
	if a.Own {
		c.log.Warn("the token endpoint was not reached, or something else answered in its place; this process alone pauses for this identity", args...)
		return
	}
	switch outcomeOf(a) {
	case outcomeThrottled:
		c.log.Warn("Entra ID throttles; the whole fleet pauses for this identity", args...)
	case outcomeFailed:
		c.log.Warn("Entra ID failed; the whole fleet pauses for this identity", args...)
	case outcomeAsked:
		c.log.Warn("the token endpoint's answer is not understood; its caller gets it as it is", args...)
	default:
		c.log.Info("Entra ID refused a token request", args...)
	}
}

// post sends one request. It always returns an answer, if only of an error.
func (l *leader) post(ctx context.Context, form url.Values) (a *answer) {
	c, r := l.c, l.r
	ctx, cancel := context.WithTimeout(c.pass(ctx), postAtMost)
	defer cancel()
	ctx, span := c.metrics.StartClient(ctx, telemetry.SpanTokenRequest, telemetry.Grant(r.Grant))
	began := time.Now()
	defer func() {
		kind := tokenFailure(a)
		c.metrics.TokenRequested(ctx, r.Grant, kind, began)
		if a.Status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(a.Status))
		}
		telemetry.Failed(span, kind)
		span.End()
	}()
	body := form.Encode()
	elapsed, started := c.elapsed(), c.store.Asked(c.clock.Now()).Micros()
	fail := func(err error) *answer {
		return noAnswer(err, r.by, started, c.clock.Now().Micros())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address, strings.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header = r.header.Clone()
	req.Header.Del("Content-Length")
	req.Host = r.host
	if a, err = c.exchange(r.via, req); err != nil {
		return fail(err)
	}
	a.by, a.began, a.Started, a.Received, a.Stamp = r.by, elapsed, started, c.clock.Now().Micros(), started
	return a
}

// released counts a lease that was lost before its holder gave it back; one that the end of the Cache took is none.
func (c *Cache) released(ctx context.Context, err error) {
	if errors.Is(err, lock.ErrLost) && c.life.Err() == nil {
		c.metrics.LockLost(ctx)
		c.log.Warn("a lease was lost while a token was asked for; another instance may have asked too")
	}
}

// tokenFailure is the kind of a token request that brought no token: the status, or that there was no answer.
func tokenFailure(a *answer) string {
	switch {
	case a.err != nil && (errors.Is(a.err, context.DeadlineExceeded) || isTimeout(a.err)):
		return "timeout"
	case a.err != nil:
		return "unreachable"
	case a.Own:
		return "not_entra_id"
	case a.Status != 200:
		return strconv.Itoa(a.Status)
	}
	return ""
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

const aheadRefreshed = "refreshed"

// outcomesAhead are those of a refresh ahead.
var outcomesAhead = []string{aheadRefreshed, outcomeElsewhere, outcomeThrottled, outcomeRefused, outcomeFailed, outcomeStale}

// outcomeAhead is a flight's outcome as that of a refresh ahead.
func outcomeAhead(outcome string) string {
	switch outcome {
	case outcomeAsked:
		return aheadRefreshed
	case outcomeShared, outcomeWaited:
		return outcomeElsewhere // another instance was quicker
	}
	return outcome
}
