package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
)

// load begins to take tokens; it ends with ctx.
func (w *worker) load(ctx context.Context, wg *sync.WaitGroup) {
	for g := range w.Goroutines {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(w.Seed, uint64(w.Worker)<<32|uint64(g)))
			for w.pause(ctx, rng) {
				c := call{Flow: flowApp, Tenant: w.Tenants[rng.IntN(len(w.Tenants))], Scope: scopeApp}
				switch n := rng.IntN(1000); {
				case n < 500:
					w.one(ctx, w.People[rng.IntN(len(w.People))], rng)
					continue
				case n < 510:
					c.Flow = flowChallenge
				case n < 511:
					c.Flow = flowForget
				case n < 517:
					p := w.People[rng.IntN(len(w.People))]
					if p.Assertion == "" {
						continue
					}
					c = call{Flow: flowDismiss, Tenant: p.Tenant, User: p.Account}
				}
				w.do(w.mix(c, person{}, rng), person{})
			}
		})
	}
	if len(w.Mine) > 0 {
		wg.Go(func() { w.sessions(ctx, rand.New(rand.NewPCG(w.Seed, uint64(w.Worker)<<32|1<<31))) })
	}
}

func (w *worker) pause(ctx context.Context, rng *rand.Rand) bool {
	t := time.NewTimer(time.Duration(rng.Int64N(int64(2 * w.Pause))))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *worker) one(_ context.Context, p person, rng *rand.Rand) {
	c := call{Flow: flowSilent, Tenant: p.Tenant, User: p.Account, Scope: scopeRead}
	switch {
	case p.Assertion != "":
		c.Flow, c.Scope = flowOBO, scopeOBO
	case rng.IntN(3) == 0:
		c.Scope = scopeMail
	}
	w.do(w.mix(c, p, rng), p)
}

// sessions signs people out and, at once or a little later, in again. All sign-ins and sign-outs of one person are made
// here, one after another: so the log says who is signed in at any moment. Only a sign-out that failed leaves it
// open, until the sign-in that follows.
func (w *worker) sessions(ctx context.Context, rng *rand.Rand) {
	for w.pause(ctx, rng) {
		p := w.People[w.Mine[rng.IntN(len(w.Mine))]]
		if w.do(call{Flow: flowSignOut, Tenant: p.Tenant, User: p.Account}, p) && rng.IntN(2) == 0 {
			for range rng.IntN(6) {
				if !w.pause(ctx, rng) {
					break
				}
			}
		}
		for !w.do(call{Flow: flowSignIn, Tenant: p.Tenant, User: p.Account, Scope: scopeRead}, p) {
			if !w.pause(ctx, rng) {
				return // whether the person is signed in, nobody knows: the checker does not ask
			}
		}
	}
}

// everyone makes one call for each of the people, a few at once.
func (w *worker) everyone(ctx context.Context, people []int, flow, scope string) {
	next := make(chan person)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for p := range next {
				c := call{Flow: flow, Tenant: p.Tenant, User: p.Account, Scope: scope}
				for try := range 20 {
					if w.do(c, p) || flow != flowSignIn || try == 19 || ctx.Err() != nil {
						break
					}
				}
			}
		})
	}
	for _, i := range people {
		if w.People[i].Assertion == "" {
			next <- w.People[i]
		}
	}
	close(next)
	wg.Wait()
}

// all are all people, from another one on in each worker, so that workers who do something for all of them do not go
// from lease to lease together.
func (w *worker) all() []int {
	out := make([]int, len(w.People))
	for i := range out {
		out[i] = (i + w.Worker*len(out)/w.Terms.Workers) % len(out)
	}
	return out
}

// do makes a call and writes it down; true: it succeeded. The context is not the load's: what has begun is ended, so
// that no failure is of the run's own making.
func (w *worker) do(c call, p person) bool {
	ctx, cancel := context.WithTimeout(context.Background(), w.Terms.CallTimeout)
	defer cancel()
	c.Worker = w.Worker
	c.Start = w.now()
	if c.Flow == flowSignIn || c.removes() {
		w.tell(record{Kind: "begin", Call: c})
	}
	result, err := w.acquire(ctx, c, p)
	c.End = w.now()
	if err != nil {
		c.Fail, c.Error = classOf(err), err.Error()
	} else if !c.removes() {
		c.Token = w.read(result.AccessToken)
	}
	w.tell(record{Kind: "call", Call: c})
	return err == nil
}

var errNoAccount = errors.New("the cache has no such account")

// acquire makes a call as a server's handler does: a panic is its caller's alone.
func (w *worker) acquire(ctx context.Context, c call, p person) (result confidential.AuthResult, err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case transportPanic:
			err = errTransportPanic
		default:
			err = &panicked{r}
		}
	}()
	switch c.Flow {
	case flowSignOut, flowDismiss:
		return confidential.AuthResult{}, w.tokens.RemoveAccount(ctx, c.User)
	case flowForget:
		return confidential.AuthResult{}, w.tokens.ForgetAppTokens(ctx, clientID, c.Tenant)
	}
	app, err := w.app(client{cmp.Or(c.Via, c.Tenant), cmp.Or(c.Client, clientID), c.CAE})
	if err != nil {
		return confidential.AuthResult{}, err
	}
	scopes, in := []string{c.Scope}, confidential.WithTenantID("") // the client's own
	if c.Via != "" {
		in = confidential.WithTenantID(c.Tenant)
	}
	switch c.Flow {
	case flowApp:
		return app.AcquireTokenByCredential(ctx, scopes, in)
	case flowChallenge: // as RFC 9470 has it, for a token that is valid from now on; none is like another
		return app.AcquireTokenByCredential(ctx, scopes, in,
			confidential.WithClaims(fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, c.Start)))
	case flowOBO:
		return app.AcquireTokenOnBehalfOf(ctx, p.Assertion, scopes, in)
	case flowSignIn:
		code, err := w.code(ctx, app, p, scopes)
		if err != nil {
			return confidential.AuthResult{}, err
		}
		return app.AcquireTokenByAuthCode(ctx, code, redirectURI, scopes)
	}
	account, err := app.Account(ctx, c.User)
	if err != nil {
		return confidential.AuthResult{}, err
	}
	if account.HomeAccountID == "" {
		return confidential.AuthResult{}, errNoAccount
	}
	return app.AcquireTokenSilent(ctx, scopes, in, confidential.WithSilentAccount(account))
}

// read reads what a token says of itself.
func (w *worker) read(text string) token {
	sum := sha256.Sum256([]byte(text))
	t := token{Hash: hex.EncodeToString(sum[:8])}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return t
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return t
	}
	var claims struct {
		OID, TID, SID, Aud, Azp, Scp, IDTyp string
		Iat, Exp                            int64
		Caps                                []string `json:"xms_cc"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return t
	}
	t.Tenant, t.Audience, t.Scopes = claims.TID, claims.Aud, claims.Scp
	t.Client, t.CAE = claims.Azp, slices.Contains(claims.Caps, capabilityCAE)
	if claims.IDTyp != "app" {
		t.Subject, t.Session = claims.OID, claims.SID
	}
	t.Issued, t.Expires = w.since(claims.Iat), w.since(claims.Exp)
	return t
}

func (w *worker) since(unix int64) time.Duration {
	return time.Unix(unix, 0).Sub(time.Unix(0, w.Began))
}

func classOf(err error) string {
	text := err.Error()
	var p *panicked
	var redisError redis.Error
	switch {
	case errors.As(err, &p):
		return failPanic
	case errors.Is(err, errTransportPanic):
		return failEntra
	case errors.Is(err, context.DeadlineExceeded) && !strings.Contains(text, "Redis"):
		return failDeadline
	case errors.Is(err, errNoAccount), strings.Contains(text, "no token found"):
		return failNoAccount
	case strings.Contains(text, "invalid_grant"):
		return failGrant
	case errors.As(err, &redisError), strings.Contains(text, "Redis"):
		return failRedis
	case strings.Contains(text, "http"), strings.Contains(text, "EOF"), strings.Contains(text, "connection"):
		return failEntra
	}
	return failOther
}

// code is what the browser brings back from a sign-in.
func (w *worker) code(ctx context.Context, app confidential.Client, p person, scopes []string) (string, error) {
	link, err := app.AuthCodeURL(ctx, clientID, redirectURI, scopes, confidential.WithLoginHint(p.Name))
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", err
	}
	resp, err := w.base.RoundTrip(req) // no redirect is followed
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil || back.Query().Get("code") == "" {
		return "", fmt.Errorf("the sign-in page answers %s", resp.Status)
	}
	return back.Query().Get("code"), nil
}
