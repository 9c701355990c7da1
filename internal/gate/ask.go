package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// namesLife is longer than Entra ID's tokens live, of which most live for an hour and none for more than 28
// (learn.microsoft.com/entra/identity/conditional-access/concept-continuous-access-evaluation).
const namesLife = 28 * time.Hour

// ask asks Entra ID, once more where that failed for a passing reason.
func (l *leader) ask(ctx context.Context) *answers.Answer {
	g := l.g
	var a *answers.Answer
	retried := false
	for {
		form, local := l.source.form()
		if local != nil {
			return local
		}
		a = l.post(ctx, form)
		if ctx.Err() != nil && a.Err != nil {
			return a
		}
		if l.lease != nil && l.found.at > 0 {
			a.Stamp = l.found.at
		}
		if l.found.stamp <= a.Stamp.Add(layout.Ahead) { // else it counts for old in Redis too
			a.Stamp = max(a.Stamp, l.found.stamp+1)
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
			a.AddRefreshIn(g.o.RefreshAt)
		}
	} else {
		a.PauseAfter(l.found.failures, time.Now())
		l.tell(a)
	}
	l.brought = a
	return a
}

// tell tells the log of an outcome without a token, once for those who find the pause: the fleet, or this process.
func (l *leader) tell(a *answers.Answer) {
	g := l.g
	pause := a.Until.Sub(a.Received)
	args := []any{"grant", l.r.Grant, "error", tokenFailure(a), "pause", pause}
	if a.Own {
		g.o.Log.Warn("the token endpoint was not reached, or something else answered in its place; "+
			"this process alone pauses for this identity", args...)
		return
	}
	switch outcomeOf(a) {
	case outcomeThrottled:
		g.o.Log.Warn("Entra ID throttles; the whole fleet pauses for this identity", args...)
	case outcomeFailed:
		g.o.Log.Warn("Entra ID failed; the whole fleet pauses for this identity", args...)
	case outcomeAsked:
		g.o.Tokens.PassUnread()
		g.o.Log.Warn("the token endpoint's answer is not understood; its caller gets it as it is", args...)
	default:
		g.o.Log.Info("Entra ID refused a token request", args...)
	}
}

// post sends one request. It always returns an answer, if only of an error.
func (l *leader) post(ctx context.Context, form url.Values) (a *answers.Answer) {
	g, r := l.g, l.r
	ctx, cancel := context.WithTimeout(g.pass(ctx), postAtMost)
	defer cancel()
	ctx, span := g.o.Metrics.Start(ctx, telemetry.SpanTokenRequest, telemetry.Grant(r.Grant))
	began := time.Now()
	defer func() {
		kind := tokenFailure(a)
		g.o.Metrics.TokenRequested(ctx, r.Grant, kind, began)
		if a.Status != 0 {
			span.Set(telemetry.HTTPStatus(a.Status))
		}
		span.Failed(kind)
		span.End()
	}()
	body := form.Encode()
	elapsed, started := g.elapsed(), g.o.Store.Asked(g.o.Clock.Now())
	// Beside the request, so that nobody waits for it.
	l.listing.Go(func() { g.answers.ListNames(context.WithoutCancel(ctx), &r.Request, namesLife) })
	fail := func(err error) *answers.Answer {
		return noAnswer(err, r.By, started, g.o.Clock.Now())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address, strings.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header = r.header.Clone()
	req.Header.Del("Content-Length")
	req.Host = r.host
	if a, err = g.exchange(r.via, req); err != nil {
		return fail(err)
	}
	a.By, a.Began, a.Started, a.Received, a.Stamp = r.By, elapsed, started, g.o.Clock.Now(), started
	return a
}

// tokenFailure is the kind of a token request that brought no token: the status, or that there was no answer.
func tokenFailure(a *answers.Answer) string {
	switch {
	case a.Err != nil && (errors.Is(a.Err, context.DeadlineExceeded) || isTimeout(a.Err)):
		return "timeout"
	case a.Err != nil:
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
