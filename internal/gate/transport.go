package gate

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/discovery"
	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/redislogin"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// transport is the gate before one base transport.
type transport struct {
	g    *Gate
	base http.RoundTripper
}

// Format implements [fmt.Formatter]: no verb looks inside.
func (t *transport) Format(f fmt.State, _ rune) { fmt.Fprint(f, "gate of ", t.g.o.Name) }

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the base transport.
func (t *transport) CloseIdleConnections() {
	if t, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	g := t.g
	if err := redisop.Usable(g.o.Life, req.Context()); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if g.hasPassed(req.Context()) {
		return t.base.RoundTrip(req)
	}
	if discovery.Asked(req) {
		return t.discover(req)
	}
	form, rest, ok := tokenreq.ReadForm(req)
	if ok && redislogin.Marked(req.Context()) {
		rest.Body.Close()
		return nil, failure.ErrRedisLogin
	}
	g.o.Listen()
	if !ok {
		return t.base.RoundTrip(rest)
	}
	asked := tokenreq.Understand(req, form, g.o.Lineages.Of(form.Get("refresh_token")), g.o.Clock.Wall())
	switch asked.Kind {
	case tokenreq.Untouched:
		g.o.Tokens.PassUnread()
		return t.send(rest, tokenresp.AtMost, errTooLarge)
	case tokenreq.SignIn:
		return t.signIn(rest, asked)
	default:
		rest.Body.Close()
		return t.acquire(req, asked)
	}
}

// acquire answers a repeatable token request.
func (t *transport) acquire(req *http.Request, asked tokenreq.Request) (*http.Response, error) {
	g := t.g
	r := g.newTokenRequest(req, asked, t.base)
	r.By = t
	began := time.Now()
	ctx, span := g.o.Metrics.Start(req.Context(), telemetry.SpanGate, telemetry.Grant(r.Grant))
	resp, outcome, err := t.answer(ctx, span, req, r)
	g.o.Metrics.GateAnswered(ctx, r.Grant, outcome, began)
	span.Set(telemetry.Outcome(outcome))
	if outcome == outcomeThrottled || outcome == outcomeRefused || outcome == outcomeFailed {
		span.Failed(outcome)
	}
	span.End()
	if err != nil && g.o.Life.Err() != nil && req.Context().Err() == nil {
		err = redisop.ErrClosed // Close ended the flight, not the caller
	}
	return resp, err
}

// answer answers a repeatable token request, and says how.
func (t *transport) answer(
	ctx context.Context, span telemetry.Span, req *http.Request, r *tokenRequest,
) (*http.Response, string, error) {
	g := t.g
	respond := func(a *answers.Answer, due bool) (*http.Response, error) {
		return a.Response(req, g.o.Clock.Now(), due)
	}
	if r.Grant == tokenreq.GrantRefreshToken && r.Form.Get("refresh_token") == "" {
		// MSAL posts an empty one for a user token that came without. Entra ID would say the same.
		empty := localAnswer("invalid_request", "the refresh token is empty", g.o.Clock.Now())
		resp, err := respond(empty, false)
		return resp, outcomeRefused, err
	}
	if r.Grant == tokenreq.GrantRefreshToken && !r.inRecord() {
		// On behalf of a user, of a sign-in that no Export has told of, or of a refresh that goes back to one: no record
		// tells that it has ended.
		if from, ok := g.o.Tokens.Of(r.Form.Get("refresh_token")); ok && g.o.Tokens.Ended(from) {
			resp, err := respond(signedOut(g.o.Clock.Now()), false)
			return resp, outcomeRefused, err
		}
	}
	if a := g.answers.Recall(&r.Request); a != nil {
		g.noteAnswer(r, a)
		resp, err := respond(a, false)
		return resp, outcomeShared, err
	}
	got := t.await(ctx, span, r)
	if got.answer.Over(g.o.Clock.Now()) {
		// Between the flight's end and now: this goroutine, or the machine, has been standing still.
		if got = t.await(ctx, span, r); got.answer.Over(g.o.Clock.Now()) {
			return nil, outcomeFailed, errOver
		}
	}
	if got.err != nil {
		return nil, got.outcome, got.err
	}
	if got.due {
		g.flights.join(g, r.flight+" refresh", r.Partitions, func(life context.Context, f *flight) {
			g.lead(span.Under(life), r, f, true)
		})
	}
	resp, err := respond(got.answer, got.due)
	return resp, got.outcome, err
}

// await waits for the flight of a request, and begins it where there is none. What speaks of one caller alone is
// nobody else's: a flight of his own is for who must not be given it.
func (t *transport) await(ctx context.Context, span telemetry.Span, r *tokenRequest) result {
	got := t.fly(ctx, span, r, r.flight)
	switch a := got.answer; {
	case a == nil:
	case a.CredentialRefused() && a.Of != r.Credential.Exact:
		// Another caller's credential was refused, which says nothing of this one's.
		return t.fly(ctx, span, r, r.flight+" "+r.Credential.Exact)
	case a.Own && a.By != t:
		// Another base transport's way to Entra ID is blocked, which says nothing of this one's.
		return t.fly(ctx, span, r, fmt.Sprintf("%s by %p", r.flight, t))
	}
	return got
}

// fly waits for the flight of a name, and begins it where there is none.
func (t *transport) fly(ctx context.Context, span telemetry.Span, r *tokenRequest, name string) result {
	g := t.g
	f, mine := g.flights.join(g, name, r.Partitions, func(life context.Context, f *flight) {
		g.lead(span.Under(life), r, f, false)
	})
	if f == nil {
		return result{outcome: outcomeFailed, err: redisop.ErrClosed}
	}
	got := f.wait(ctx, func(old *answers.Answer) bool { return g.oldServes(r, old) })
	if !mine && got.outcome != outcomeLeft && f.span != nil {
		span.Link(f.span)
	}
	if !mine && got.outcome == outcomeAsked {
		got.outcome = outcomeWaited
	}
	return got
}

var errOver = failure.New("the token's life was over before it could be handed out")
