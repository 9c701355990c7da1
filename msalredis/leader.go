package msalredis

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	background bool
	begun      time.Time
	arrived    int64 // Redis's time of begun, known from the first look
	source     source
}

// source is where a request's answers are found and kept.
type source interface {
	// look is what may be answered at once: the answer and whether it is due. nil: nothing. An error says only that
	// Redis did not tell.
	look(ctx context.Context) (a *answer, due bool, err error)
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
	a, due, err := l.source.look(ctx)
	if err != nil && c.o.FailClosed {
		return nil, false, looking(err)
	}
	if a != nil && (!due || !l.background) {
		c.metrics.answered("shared")
		return a, due, nil
	}

	// Within this process one at a time, whatever becomes of the lease.
	release, err := c.turns.take(ctx, l.source.lease())
	if err != nil {
		return nil, false, err
	}
	defer release()

	lease, a, err := l.lease(ctx)
	if a != nil || err != nil {
		return a, false, err
	}
	if lease != nil {
		defer func() {
			_ = lease.Release(ctx) // one that was lost is another's by now, and what was kept is ordered by stamps
		}()
	}
	if a, due, _ := l.source.look(ctx); a != nil && (!due || !l.background) {
		c.metrics.answered("shared")
		return a, due, nil
	}
	a = l.ask(ctx, lease)
	if a == nil {
		return nil, false, ctx.Err()
	}
	return a, false, nil
}

// lease takes the lease, or waits for the answer of who has it. Both nil: go on without.
func (l *leader) lease(ctx context.Context) (*lock.Lease, *answer, error) {
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
				return nil, nil, leasing(errAway)
			}
			return nil, nil, nil
		}
		lease, err := c.locker.TryAcquire(ctx, key)
		switch {
		case err == nil:
			return lease, nil, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case !errors.Is(err, lock.ErrHeld) && !errors.Is(err, lock.ErrLost):
			c.log.warn("no lease can be had; the token is asked for without", "error", c.store.judge(key, err))
			if c.o.FailClosed {
				return nil, nil, leasing(err)
			}
			return nil, nil, nil
		case l.background:
			return nil, nil, &gateError{"another instance refreshes"}
		}
		c.metrics.answered("waited")
		if wake == nil {
			// Subscribed first, then one more look: what comes between is not missed.
			if wake, err = c.locker.Subscribe(ctx, key); err != nil {
				wake = nil
				if !sleep(ctx, 50*time.Millisecond+rand.N(50*time.Millisecond)) {
					return nil, nil, ctx.Err()
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
			return nil, nil, ctx.Err()
		}
		a, due, err := l.source.look(ctx)
		if err != nil && c.o.FailClosed {
			return nil, nil, looking(err)
		}
		if a != nil && !due {
			return nil, a, nil
		}
	}
}

// Redis's errors say where they come from: without that net/http and MSAL name Entra ID's address before a refused
// connection.
func looking(err error) error { return fmt.Errorf("msalredis: looking for a shared answer: %w", err) }
func leasing(err error) error { return fmt.Errorf("msalredis: taking the lease: %w", err) }

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
		if passing(a) && !retried {
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
		pauseFor(a)
	}
	if c.hooks.afterPost != nil {
		c.hooks.afterPost(l.r.rid)
	}
	l.source.keep(ctx, a)
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

// passing tells whether asking again at once may help: no answer, or a server's error without a pause asked for.
func passing(a *answer) bool {
	if a.err != nil {
		return !errors.Is(a.err, errTooLarge) && !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, io.ErrUnexpectedEOF)
	}
	return a.status >= 500 && a.header["Retry-After"] == ""
}

// pauseFor sets for how long an outcome that brought no token is the fleet's: those who wait take it, and those who
// come next.
func pauseFor(a *answer) {
	pause := 2 * second // a refusal: asking again at once brings the same
	if s := a.header["Retry-After"]; s != "" && (a.status == http.StatusTooManyRequests || a.status >= 500) {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
			pause, a.throttled = min(n, 3600)*second, true
		} else if t, err := http.ParseTime(s); err == nil {
			if d := time.Until(t); d > 0 {
				pause, a.throttled = min(int64(d/time.Microsecond), 3600*second), true
			}
		}
	} else if a.status == http.StatusOK {
		pause = 0 // not understood: only for those who wait in this process
	}
	a.until = a.received + pause
}
