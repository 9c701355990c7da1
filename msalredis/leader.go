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

	"github.com/msal-redis/msal-redis-go/lock"
)

// leader is one instance's attempt to bring an answer.
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
}

// finding is what a look finds.
type finding struct {
	answer *answer // may be given at once; nil: nothing
	due    bool    // it should be refreshed
	// old is a token with life left that MSAL would not keep any more: for when Entra ID does not answer.
	old      *answer
	pause    *answer // the outcome after which nobody should ask yet
	failures int     // in a row, and recently
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
	if a, soon, ok := l.settled(); ok {
		return a, soon, nil
	}

	// Within this process one at a time, whatever becomes of the lease.
	release, err := c.turns.take(ctx, l.source.lease())
	if err != nil {
		return nil, false, err
	}
	defer release()

	lease, settled, err := l.lease(ctx)
	if err != nil {
		return nil, false, err
	}
	if settled {
		a, soon, _ := l.settled()
		return a, soon, nil
	}
	if lease != nil {
		defer func() {
			_ = lease.Release(ctx) // one that was lost is another's by now, and what was kept is ordered by stamps
		}()
	}
	_ = l.look(ctx)
	if a, soon, ok := l.settled(); ok {
		return a, soon, nil
	}
	a := l.ask(ctx, lease)
	if old := l.old(); !a.good && a.passing() && old != nil {
		c.metrics.answered("old")
		return old, false, nil
	}
	return a, false, nil
}

// look looks, and lets callers have the old token if a new one keeps them waiting.
func (l *leader) look(ctx context.Context) (err error) {
	l.found, err = l.source.look(ctx)
	if old := l.found.old; old != nil && l.timer == nil && !l.background {
		l.timer = time.AfterFunc(patience, func() { l.flight.serve(old) })
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
	if old := l.found.old; old != nil && old.alive(l.c.clock.redis()) {
		return old
	}
	return nil
}

// settled tells whether what was found needs no request, and what to answer: nil for a refresh in the background,
// which nobody waits for.
func (l *leader) settled() (a *answer, soon, ok bool) {
	f, m := l.found, l.c.metrics
	switch {
	case f.answer != nil && (!f.due || !l.background):
		m.answered("shared")
		return f.answer, f.due, true
	case f.pause == nil:
		return nil, false, false
	case l.background:
		return nil, false, true
	}
	if old := l.old(); old != nil && f.pause.passing() {
		m.answered("old")
		return old, false, true
	}
	m.answered("paused")
	return f.pause, false, true
}

// lease takes the lease, or waits until what the holder has brought settles the matter. nil and not settled: go on
// without.
func (l *leader) lease(ctx context.Context) (lease *lock.Lease, settled bool, err error) {
	c, key := l.c, l.c.keys.lock(l.source.lease())
	var wake *lock.Subscription
	defer func() {
		if wake != nil {
			wake.Close()
		}
	}()
	for {
		if c.store.away.Load() {
			if c.o.FailClosed {
				return nil, false, leasing(errAway)
			}
			return nil, false, nil
		}
		lease, err := c.locker.TryAcquire(ctx, key)
		switch {
		case err == nil:
			return lease, false, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case !errors.Is(err, lock.ErrHeld) && !errors.Is(err, lock.ErrLost):
			c.log.warn("no lease can be had; the token is asked for without", "error", c.store.judge(key, err))
			if c.o.FailClosed {
				return nil, false, leasing(err)
			}
			return nil, false, nil
		case l.background:
			return nil, false, &gateError{text: "another instance refreshes"}
		}
		c.metrics.answered("waited")
		if wake == nil {
			// Subscribed first, then one more look: what comes between is not missed.
			if wake, err = c.locker.Subscribe(ctx, key); err != nil {
				wake = nil
				if !sleep(ctx, 50*time.Millisecond+rand.N(50*time.Millisecond)) {
					return nil, false, ctx.Err()
				}
			}
		} else {
			poll := time.NewTimer(c.o.LockTTL/20 + rand.N(c.o.LockTTL/20))
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
	}
}

// Redis's errors say where they come from: without that net/http and MSAL name Entra ID's address before a refused
// connection.
func looking(err error) error { return failClosed("looking for a shared answer", err) }
func leasing(err error) error { return failClosed("taking the lease", err) }

// ask asks Entra ID, once more where that failed for a passing reason, and keeps what came.
func (l *leader) ask(ctx context.Context, lease *lock.Lease) *answer {
	c := l.c
	if c.hooks.beforePost != nil {
		c.hooks.beforePost(l.r.rid)
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
			a.stamp = max(lease.Fence(), 1)
		}
		if a.oauthError() == "invalid_grant" && l.source.moved(ctx, form) && !retried {
			retried = true
			continue
		}
		if a.worthRetrying() && !retried {
			retried = true
			if !sleep(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond)) {
				return a
			}
			continue
		}
		break
	}
	a.judge()
	if a.good {
		if l.r.grant == grantClientCredentials || l.r.grant == grantOnBehalfOf || a.member("refresh_token") != "" || l.r.lineage != nil {
			a.addRefreshIn(c.o.RefreshAt)
		}
	} else {
		a.pauseAfter(l.found.failures)
	}
	if c.hooks.afterPost != nil {
		c.hooks.afterPost(l.r.rid)
	}
	l.source.keep(ctx, a)
	if a.good && l.found.failures > 0 {
		c.endPause(ctx, l.r.rid)
	}
	return a
}

// post sends one request. It always returns an answer, if only of an error.
func (l *leader) post(ctx context.Context, form url.Values) *answer {
	c, r := l.c, l.r
	ctx, cancel := context.WithTimeout(ctx, postAtMost)
	defer cancel()
	ctx, span := c.metrics.tracer.Start(ctx, "msalredis.token_request")
	defer span.End()
	body := form.Encode()
	started := c.clock.redis()
	fail := func(err error) *answer {
		c.metrics.tokenRequest(r.grant, "unreachable")
		return &answer{err: err, started: started, received: c.clock.redis(), stamp: started}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.template.URL.String(), strings.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header = r.template.Header.Clone()
	req.Header.Del("Content-Length")
	resp, err := r.via.RoundTrip(req)
	if err != nil {
		return fail(err)
	}
	a, err := readAnswer(resp)
	if err != nil {
		return fail(err)
	}
	a.started, a.received, a.stamp = started, c.clock.redis(), started
	outcome := "ok"
	if a.status != http.StatusOK {
		outcome = strconv.Itoa(a.status)
	}
	c.metrics.tokenRequest(r.grant, outcome)
	return a
}
