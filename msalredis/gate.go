package msalredis

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redislogin"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// Transport is the refresh gate: an [http.RoundTripper] in front of Entra ID's token endpoint that lets one
// instance of the fleet ask for a token and gives its answer to all. base sends the requests; nil is a pooled
// transport of the gate's own.
//
// Everything but a token request that can be repeated passes untouched: client credentials with a secret or an
// assertion, on-behalf-of, refresh_token and user_fic can. Answers to sign-ins are seen on their way, and a
// refresh_in is added to those that lack it. Discovery documents are remembered for a day, so that a new MSAL client
// costs no request.
//
// What MSAL would read whole is bounded: an answer of more than 1 MiB to a token request, or a discovery document of more than
// 256 KiB, is an error, and of headers the gate's own transport takes 64 KiB.
//
// Callers of one identity wait for the same answer, each until its own context ends, and for 75 seconds at most. A refresh that has
// begun goes on when all have left, and so base gets a context that has neither a caller's values nor its deadline; of a request to
// Entra ID it ends after 30 seconds. Entra ID's errors come as they are, and those that the gate makes itself are not retried by the
// Azure SDK. While Redis is away, there is one request per process.
func (c *Cache) Transport(base http.RoundTripper) http.RoundTripper {
	if isNil(base) {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 16          // http.DefaultTransport keeps 2, and a burst would dial anew each time
		t.MaxResponseHeaderBytes = 64 << 10 // Entra ID's have 2 KB; net/http's default is 10 MB
		base = t
	}
	c.gated.Store(true)
	return &gate{c, base}
}

// HTTPClient is an HTTP client whose transport is the gate, made once: give it to every MSAL client by
// WithHTTPClient, and to Azure SDK credentials as azcore.ClientOptions.Transport.
func (c *Cache) HTTPClient() *http.Client { return c.http() }

type gate struct {
	c    *Cache
	base http.RoundTripper
}

// Format implements [fmt.Formatter]: no verb looks inside.
func (g *gate) Format(f fmt.State, _ rune) { fmt.Fprint(f, "gate of ", g.c) }

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the base transport.
func (g *gate) CloseIdleConnections() {
	if t, ok := g.base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	c := g.c
	if err := c.usable(req.Context()); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if c.hasPassed(req.Context()) {
		return g.base.RoundTrip(req)
	}
	if isDiscovery(req) {
		return g.discover(req)
	}
	form, rest, ok := tokenreq.ReadForm(req)
	if ok && redislogin.Marked(req.Context()) {
		rest.Body.Close()
		return nil, failure.ErrRedisLogin
	}
	c.remover.Listen()
	if !ok {
		return g.base.RoundTrip(rest)
	}
	switch asked := tokenreq.Understand(req, form, c.lineages.Of(form.Get("refresh_token")), c.clock.Wall()); asked.Kind {
	case tokenreq.Untouched:
		return g.send(rest, tokenresp.AtMost, errTooLarge)
	case tokenreq.SignIn:
		return g.signIn(rest, asked)
	default:
		rest.Body.Close()
		return g.acquire(req, asked)
	}
}

// send sends a request whose response MSAL reads whole: a larger one than most is an error in its place.
func (g *gate) send(req *http.Request, most int64, tooLarge error) (*http.Response, error) {
	resp, err := roundTrip(g.base, req.WithContext(g.c.pass(req.Context())))
	if err == nil {
		resp.Body = &boundedBody{resp.Body, most, tooLarge}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left     int64
	tooLarge error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, b.tooLarge
	}
	return n, err
}

// peek reads a response's body and puts it back. An error: it is larger than most, or broken; what was read is back.
func peek(resp *http.Response, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = errTooLarge
	}
	rest := resp.Body
	if err == nil {
		rest.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), rest), rest}
	}
	return body, err
}

// signIn passes a sign-in and takes note of its tokens, and of when it was asked for: sign-outs of before that do not end them.
// A refresh ahead of them is answered from the user's record, with the old token if need be. Where it is not, for what was asked for
// is special, none is asked for: a public client of MSAL gives its caller the error of one that fails.
func (g *gate) signIn(req *http.Request, asked tokenreq.Request) (*http.Response, error) {
	c := g.c
	began := c.elapsed()
	session := c.store.Asked(c.redisTime(req.Context()))
	started := c.clock.Now().Micros()
	resp, err := g.send(req, tokenresp.AtMost, errTooLarge)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	body, err := peek(resp, tokenresp.AtMost)
	if err != nil {
		return resp, nil // MSAL sees what there is
	}
	a := &answer{Answer: &tokenresp.Answer{Status: resp.StatusCode, Body: body, Started: started, Received: c.clock.Now().Micros(), Stamp: started}}
	a.Judge()
	if !a.Good {
		return resp, nil
	}
	c.tokens.Note(a.Answer, issued.Token{Session: session, Began: began, Terms: asked.Terms, Owners: a.Owners()})
	if !asked.Special && a.Member("refresh_token") != "" {
		a.AddRefreshIn(c.o.RefreshAt)
		resp.Body = io.NopCloser(bytes.NewReader(a.Body))
		resp.ContentLength = int64(len(a.Body))
		resp.Header.Del("Content-Length")
	}
	return resp, nil
}

// redisTime asks Redis for its time, by which a session is ordered among sign-outs. Where it does not tell, this is what we believe.
func (c *Cache) redisTime(ctx context.Context) redistime.Time {
	var us atomic.Int64
	keys := []string{c.keys.Response("time"), c.keys.Pause("time")}
	if c.redis.Run(ctx, layout.LookScript, keys, func(r redisop.Reply) error { us.Store(r.Time.Micros()); return nil }) != nil || us.Load() == 0 {
		return c.clock.Now()
	}
	return redistime.Time(us.Load())
}

// acquire answers a repeatable token request.
func (g *gate) acquire(req *http.Request, asked tokenreq.Request) (*http.Response, error) {
	c := g.c
	r := c.newTokenRequest(req, asked, g.base)
	r.by = g
	began := time.Now()
	ctx, span := c.metrics.Start(req.Context(), telemetry.SpanGate, telemetry.Grant(r.Grant))
	resp, outcome, err := g.answer(ctx, span, req, r)
	c.metrics.GateAnswered(ctx, r.Grant, outcome, began)
	span.SetAttributes(telemetry.Outcome(outcome))
	if outcome == outcomeThrottled || outcome == outcomeRefused || outcome == outcomeFailed {
		telemetry.Failed(span, outcome)
	}
	span.End()
	if err != nil && c.life.Err() != nil && req.Context().Err() == nil {
		err = ErrClosed // Close ended the flight, not the caller
	}
	return resp, err
}

// answer answers a repeatable token request, and says how.
func (g *gate) answer(ctx context.Context, span trace.Span, req *http.Request, r *tokenRequest) (*http.Response, string, error) {
	c := g.c
	if r.Grant == tokenreq.GrantRefreshToken && r.Form.Get("refresh_token") == "" {
		// MSAL posts an empty one for a user token that came without. Entra ID would say the same.
		resp, err := localAnswer("invalid_request", "the refresh token is empty", c.clock.Now().Micros()).Response(req, c.clock.Now().Micros(), false)
		return resp, outcomeRefused, err
	}
	if r.Kind == tokenreq.UnknownRefresh || r.Kind == tokenreq.RotatedRefresh {
		// Of a sign-in that no Export has told of, or of a refresh that goes back to one: no record tells that it has ended.
		if from, ok := c.tokens.Of(r.Form.Get("refresh_token")); ok && c.tokens.Ended(from) {
			resp, err := signedOut(c.clock.Now().Micros()).Response(req, c.clock.Now().Micros(), false)
			return resp, outcomeRefused, err
		}
	}
	a, soon, outcome, err := g.await(ctx, span, r)
	if a.Over(c.clock.Now().Micros()) {
		// Between the flight's end and now: this goroutine, or the machine, has been standing still.
		if a, soon, outcome, err = g.await(ctx, span, r); a.Over(c.clock.Now().Micros()) {
			return nil, outcomeFailed, errOver
		}
	}
	if err != nil {
		return nil, outcome, err
	}
	if soon {
		c.flights.join(c, r.flight+" refresh", r.pids, func(life context.Context, f *flight) {
			f.answer, f.soon, f.err = c.lead(telemetry.Under(life, span), r, f, true)
		})
	}
	resp, err := a.Response(req, c.clock.Now().Micros(), soon)
	return resp, outcome, err
}

// await waits for the flight of a request, and begins it where there is none.
func (g *gate) await(ctx context.Context, span trace.Span, r *tokenRequest) (a *answer, soon bool, outcome string, err error) {
	a, soon, outcome, err = g.fly(ctx, span, r, r.flight)
	switch {
	case a == nil:
	case a.CredentialRefused() && a.Of != r.Credential.Exact:
		// Another caller's credential was refused, which says nothing of this one's.
		return g.fly(ctx, span, r, r.flight+" "+r.Credential.Exact)
	case a.Own && a.by != g:
		// Another base transport's way to Entra ID is blocked, which says nothing of this one's.
		return g.fly(ctx, span, r, fmt.Sprintf("%s by %p", r.flight, g))
	}
	return a, soon, outcome, err
}

// fly waits for the flight of a name, and begins it where there is none.
func (g *gate) fly(ctx context.Context, span trace.Span, r *tokenRequest, name string) (a *answer, soon bool, outcome string, err error) {
	c := g.c
	f, mine := c.flights.join(c, name, r.pids, func(life context.Context, f *flight) {
		f.answer, f.soon, f.err = c.lead(telemetry.Under(life, span), r, f, false)
	})
	if f == nil {
		return nil, false, outcomeFailed, ErrClosed
	}
	a, soon, outcome, err = f.wait(ctx, func() int64 { return c.clock.Now().Micros() })
	if !mine && outcome != outcomeLeft && f.span.IsValid() {
		span.AddLink(trace.Link{SpanContext: f.span})
	}
	if !mine && outcome == outcomeAsked {
		outcome = outcomeWaited
	}
	return a, soon, outcome, err
}

var errOver = failure.New("the token's life was over before it could be handed out")

// noteAnswer remembers where an answer's tokens come from, before its callers have it and MSAL stores them.
func (c *Cache) noteAnswer(r *tokenRequest, a *answer) {
	if r.inRecord() {
		return // the flight has, with the session of the token that it sent
	}
	switch asked := redistime.Time(a.Started); r.Kind {
	case tokenreq.App:
		c.tokens.Note(a.Answer, issued.Token{Session: asked, Began: a.began, Terms: r.Terms})
	case tokenreq.UserFIC:
		c.tokens.Note(a.Answer, issued.Token{Session: asked, Began: a.began, Terms: r.Terms, Owners: a.Owners()})
	default:
		if r.Grant == tokenreq.GrantRefreshToken {
			// It may be of an account's refresh token, which MSAL has used before its Export has told of it: it had it when the
			// request came.
			session := min(asked, r.begun)
			if sent, ok := c.tokens.Of(r.Form.Get("refresh_token")); ok {
				session = c.tokens.Session(sent)
			}
			c.tokens.Note(a.Answer, issued.Token{Session: session, Terms: r.Terms, Owners: a.Owners()})
		}
		owners := r.ownersOf(a)
		c.lineages.Follow(a.Member("refresh_token"), r.Next(owners))
		if r.Assertion != "" {
			c.onBehalfOf.Gave(r.Assertion, owners, a.Started)
		}
	}
}

// lead brings an answer: what the fleet has, or what Entra ID says. background: the answer that there is serves
// meanwhile, so nobody waits and nothing is done that another instance does already.
func (c *Cache) lead(life context.Context, r *tokenRequest, f *flight, background bool) (a *answer, soon bool, err error) {
	ctx, cancel := context.WithTimeout(life, leadAtMost)
	defer cancel()
	ctx, span := c.metrics.Start(ctx, telemetry.SpanAcquire, telemetry.Grant(r.Grant), telemetry.Background(background))
	defer span.End()
	f.span = span.SpanContext()
	l := &leader{c: c, r: r, flight: f, background: background, begun: time.Now()}
	defer l.stop()
	l.source = &shared{leader: l}
	if r.inRecord() {
		l.source = &owned{leader: l, p: c.store.Of(r.Lineage.Partition, true)}
	}
	a, soon, err = l.lead(ctx)
	if err != nil && !background {
		l.outcome = outcomeFailed
	}
	f.outcome = l.outcome
	span.SetAttributes(telemetry.Outcome(l.outcome))
	if a != nil && a.Good {
		c.listNames(ctx, r, a)
		c.noteAnswer(r, a)
	}
	if background {
		c.metrics.RefreshedAhead(ctx, outcomeAhead(l.outcome))
	}
	if a == nil && err == nil {
		err = failure.New("the refresh is another instance's") // background only: nobody sees it
	}
	return a, soon, err
}

const (
	// leadAtMost bounds a flight: a lease that others hold, and two requests of postAtMost.
	leadAtMost = 75 * time.Second
	// postAtMost bounds one request, as MSAL bounds its own where the caller's context has no deadline.
	postAtMost = 30 * time.Second
	// patience is how long callers wait for a new token while the old one, in the last five minutes of its life, would
	// do: a healthy Entra ID answers within it.
	patience = 2 * time.Second
	// holderAtMost is how long a caller waits for an instance that holds the lease and brings nothing, before it asks as well; up to
	// half of it is added, by chance. A healthy Entra ID answers well within it, and so does one that is merely slow.
	holderAtMost = 5 * time.Second
	// challengeLife is how long concurrent requests may share the answer to a claims challenge.
	challengeLife = 5 // seconds
)
