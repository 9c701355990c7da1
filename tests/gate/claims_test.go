package gate_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A request with a claims challenge is answered by nothing older than itself: what there is, a resource has refused.
// Concurrent requests with the same challenge are one request, on two instances too; a later one is a new request.
func TestClaimsChallengeAnsweredByNothingOlder(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	a, b := w.Instance(), w.Instance()
	appA, appB := a.App(), b.App()
	old := harness.Must(t)(appA.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	second := harness.Must(t)(appB.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
		confidential.WithClaims(challenge)))
	if second == old {
		t.Error("a challenge was answered by the token that was refused")
	}
	w.Count(t, 2, "a token and a challenge")
	// Its answer takes the place of the one that was refused, for everybody.
	fresh := w.Instance().GateApp()
	if token := harness.Must(t)(fresh.AcquireTokenByCredential(ctx, []string{harness.GraphScope})); token != second {
		t.Error("without the challenge the token that was refused is still served")
	}
	w.Count(t, 2, "after the challenge")

	d := w.Door()
	outs := harness.StartCalls(16, func(i int) (confidential.AuthResult, error) {
		app := appA
		if i%2 == 1 {
			app = appB
		}
		return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithClaims(challenge))
	})
	d.Wait(t)
	harness.InGate(t, 16)
	w.LeaseWaiters(t, 1)
	d.Open()
	third := harness.OneToken(t, harness.CollectCalls(t, 16, outs))
	if third == second || third == old {
		t.Error("concurrent challenges were answered by something older")
	}
	w.Count(t, 3, "16 concurrent challenges")

	later := harness.Must(t)(appA.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
		confidential.WithClaims(challenge)))
	if later == third {
		t.Error("a later challenge was answered by the answer to an earlier one")
	}
	w.Count(t, 4, "a later challenge")
}

// Claims of the client's own look like a challenge, and their tokens are cached: MSAL keeps them apart from those
// without, and so does the fleet.
func TestTokensWithClaimsFromClientAreKeptApart(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	assertion := w.Assertion(t, u)
	first := w.Instance()
	first.SignIn(first.App(), u)
	const claims = `{"access_token":{"xms_az_nwperimid":{"values":["perimeter"]}}}`
	for name, acquire := range map[string]func(app confidential.Client, own bool) (confidential.AuthResult, error){
		"app": func(app confidential.Client, own bool) (confidential.AuthResult, error) {
			if own {
				return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithClaimsFromClient(claims))
			}
			return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		},
		"user": func(app confidential.Client, own bool) (confidential.AuthResult, error) {
			account, err := app.Account(ctx, u.HomeAccountID())
			if err != nil {
				return confidential.AuthResult{}, err
			}
			if own {
				return app.AcquireTokenSilent(ctx, []string{harness.MailScope}, confidential.WithSilentAccount(account),
					confidential.WithClaimsFromClient(claims))
			}
			return app.AcquireTokenSilent(ctx, []string{harness.MailScope}, confidential.WithSilentAccount(account))
		},
		"on behalf of": func(app confidential.Client, own bool) (confidential.AuthResult, error) {
			if own {
				return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope},
					confidential.WithClaimsFromClient(claims))
			}
			return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope})
		},
	} {
		with := harness.Must(t)(acquire(w.Instance().App(), true))
		if plain := harness.Must(t)(acquire(w.Instance().App(), false)); plain == with {
			t.Errorf("%s: a call without claims got the token with them", name)
		}
		if name != "on behalf of" { // whose tokens MSAL does not export
			sent := w.Entra.Count()
			if again := harness.Must(t)(acquire(w.Instance().App(), true)); again != with {
				t.Errorf("%s: the token with claims is not shared", name)
			}
			w.Count(t, sent, name+": the token with claims is shared")
		}
	}
}

// The same for a user's token, where only public clients take a challenge silently.
func TestClaimsChallengeOfUserAnsweredByNothingOlder(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	clients := []public.Client{a.Public(), b.Public()}
	link, err := clients[0].AuthCodeURL(ctx, harness.PublicID, harness.RedirectURI, []string{harness.UserScope})
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.Entra.AuthorizeCode(link, u.Username)
	if err != nil {
		t.Fatal(err)
	}
	old := harness.Must(t)(clients[0].AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, []string{harness.UserScope}))
	challenged := func(i int) (confidential.AuthResult, error) {
		accounts, err := clients[i%2].Accounts(ctx)
		if err != nil || len(accounts) != 1 {
			return confidential.AuthResult{}, fmt.Errorf("%d accounts: %w", len(accounts), err)
		}
		return clients[i%2].AcquireTokenSilent(ctx, []string{harness.UserScope}, public.WithSilentAccount(accounts[0]),
			public.WithClaims(challenge))
	}
	second := harness.Must(t)(challenged(1))
	if second == old {
		t.Error("a challenge was answered by the token that was refused")
	}
	w.Count(t, 1, "one challenge", entratest.ByGrant(harness.RefreshGrant))
	third := harness.OneToken(t, stampede(t, w, challenged))
	if third == second || third == old {
		t.Error("concurrent challenges were answered by something older")
	}
	w.Count(t, 2, "16 concurrent challenges", entratest.ByGrant(harness.RefreshGrant))
	if later := harness.Must(t)(challenged(0)); later == third {
		t.Error("a later challenge was answered by the answer to an earlier one")
	}
	w.Count(t, 3, "a later challenge", entratest.ByGrant(harness.RefreshGrant))
	w.NoRefusals(t)
}

// Capabilities, which CAE clients send with every request, are no challenge: tokens are shared as usual, but with
// such clients only, because a client without them cannot handle what an API may answer to such a token.
func TestCapabilitiesShareTokensAmongThemselves(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	cp1 := confidential.WithClientCapabilities([]string{"CP1"})
	scopes := []string{harness.GraphScope}
	t.Run("gate alone", func(t *testing.T) {
		one := harness.Must(t)(w.Instance().GateApp(cp1).AcquireTokenByCredential(ctx, scopes))
		two := harness.Must(t)(w.Instance().GateApp(cp1).AcquireTokenByCredential(ctx, scopes))
		if one != two {
			t.Error("two instances with CP1 have different tokens")
		}
		w.Count(t, 1, "two instances with CP1")
		if plain := harness.Must(t)(w.Instance().GateApp().AcquireTokenByCredential(ctx, scopes)); plain == one {
			t.Error("a client without CP1 got the token of one with it")
		}
		w.Count(t, 2, "one instance without CP1")
	})
	t.Run("gate and accessor", func(t *testing.T) {
		w.Entra.ResetRequests()
		scopes := []string{harness.DynamicsScope}
		one := harness.Must(t)(w.Instance().App(cp1).AcquireTokenByCredential(ctx, scopes))
		two := harness.Must(t)(w.Instance().App(cp1).AcquireTokenByCredential(ctx, scopes))
		if one != two {
			t.Error("two instances with CP1 have different tokens")
		}
		w.Count(t, 1, "two instances with CP1")
	})
	t.Run("with a challenge", func(t *testing.T) {
		w.Entra.ResetRequests()
		app := w.Instance().App(cp1)
		one := harness.Must(t)(app.AcquireTokenByCredential(ctx, scopes))
		two := harness.Must(t)(app.AcquireTokenByCredential(ctx, scopes, confidential.WithClaims(challenge)))
		if one == two {
			t.Error("a challenge beside capabilities was answered by something older")
		}
	})
}

// tardy is a Redis whose answers are long on their way back.
type tardy struct{ on atomic.Bool }

func (r *tardy) DialHook(next redis.DialHook) redis.DialHook { return next }
func (r *tardy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (r *tardy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if r.on.Load() {
			time.Sleep(300 * time.Millisecond)
		}
		return err
	}
}

// What came before a challenge does not answer it, however long Redis's answers are on their way.
func TestClaimsChallengeWhileRedisIsTardy(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for kind, acquire := range map[string]func(confidential.Client, string) (confidential.AuthResult, error){
		"app": func(app confidential.Client, _ string) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithClaims(challenge))
		},
		"on behalf of": func(app confidential.Client, assertion string) (confidential.AuthResult, error) {
			return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}, confidential.WithClaims(challenge))
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			rdb, slow := w.Client(), &tardy{}
			rdb.AddHook(slow)
			i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
			app, assertion := i.App(), w.Assertion(t, w.AddUsers(1)[0])
			first := harness.Must(t)(acquire(app, assertion))
			slow.on.Store(true)
			second := harness.Must(t)(acquire(app, assertion))
			slow.on.Store(false)
			if first == second {
				t.Error("the challenge was answered by what its caller was challenged with")
			}
		})
	}
}
