package gate_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

const pastTheGate = "a token did not come through the gate"

// listening is an instance whose log the test reads.
func listening(w *harness.World) (*harness.Instance, *harness.Journal) {
	w.T.Helper()
	log := &harness.Journal{}
	return w.Instance(func(o *msalredis.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) }), log
}

// A client that has the accessor and not the gate is told of, once and with the cure. No other is.
func TestForgottenGateIsToldOnce(t *testing.T) {
	type flows struct {
		*harness.Instance
		user entratest.User
		past *http.Client // past the gate
		log  *slog.Logger
	}
	// ungated is a Cache whose gate nobody has.
	ungated := func(t *testing.T, f flows) *msalredis.Cache {
		o := harness.Options(f.World.Prefix)
		o.Logger = f.log
		tokens, err := msalredis.New(f.World.Client(), f.World.Sealer(f.World.Keys), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tokens.Close() })
		return tokens
	}
	ctx := context.Background()
	appTokens := func(t *testing.T, app confidential.Client) {
		for _, scope := range []string{harness.GraphScope, harness.DynamicsScope} {
			harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{scope}))
		}
	}
	accessorAlone := func(t *testing.T, f flows) confidential.Client {
		return harness.NewApp(t, f.World.Entra.Authority(harness.Tenant), f.Tokens, f.past)
	}
	for name, test := range map[string]struct {
		told int
		do   func(t *testing.T, f flows)
	}{
		"confidential, without": {1, func(t *testing.T, f flows) { appTokens(t, accessorAlone(t, f)) }},
		"public, without": {1, func(t *testing.T, f flows) {
			c, err := public.New(harness.PublicID, public.WithAuthority(f.World.Entra.Authority(harness.Tenant)),
				public.WithCache(f.Tokens), public.WithHTTPClient(f.past))
			if err != nil {
				t.Fatal(err)
			}
			harness.PublicSignIn(t, f.World, c, f.user)
		}},
		"one with and one without": {1, func(t *testing.T, f flows) {
			appTokens(t, f.App())
			f.SignIn(accessorAlone(t, f), f.user)
		}},
		"a confidential client's flows": {0, func(t *testing.T, f flows) {
			app := f.App()
			appTokens(t, app)
			f.SignIn(app, f.user)
			harness.Must(t)(harness.Silent(ctx, app, f.user.HomeAccountID(), harness.MailScope))
			harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, f.World.Assertion(t, f.user), []string{harness.MailScope}))
		}},
		"a public client's": {0, func(t *testing.T, f flows) { harness.PublicSignIn(t, f.World, f.Public(), f.user) }},
		"the gate alone":    {0, func(t *testing.T, f flows) { appTokens(t, f.GateApp()) }},
		"on behalf of, and nobody has the gate": {1, func(t *testing.T, f flows) {
			f.Instance = &harness.Instance{World: f.World, Tokens: ungated(t, f)}
			app := accessorAlone(t, f)
			for range 2 {
				assertion := f.World.Assertion(t, f.user)
				harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}))
			}
		}},
		"what another instance has": {0, func(t *testing.T, f flows) {
			f.Instance = &harness.Instance{World: f.World, Tokens: ungated(t, f)}
			there := f.World.Instance()
			appTokens(t, there.App())
			there.SignIn(there.App(), f.user)
			app := accessorAlone(t, f)
			appTokens(t, app)
			harness.Must(t)(harness.Silent(ctx, app, f.user.HomeAccountID()))
			f.World.Count(t, 3, "the other instance")
		}},
		"a cache that is imported": {0, func(t *testing.T, f flows) {
			naive := &keeps{}
			appTokens(t, harness.NewApp(t, f.World.Entra.Authority(harness.Tenant), naive, f.past))
			for _, known := range []bool{false, true} { // an importer may have asked before
				m := &harness.MSALMemory{}
				if known {
					if err := f.Tokens.Replace(ctx, m, cache.ReplaceHints{PartitionKey: naive.key}); err != nil {
						t.Fatal(err)
					}
				}
				m.Document = naive.document
				if err := f.Tokens.Export(ctx, m, cache.ExportHints{PartitionKey: naive.key}); err != nil {
					t.Fatal(err)
				}
			}
			appTokens(t, f.App())
			f.World.Count(t, 2, "what was imported serves")
		}},
		"an answer that the gate does not understand": {0, func(t *testing.T, f flows) {
			f.World.Entra.AddFault(entratest.Fault{Status: http.StatusOK, Body: `{"token_type":"Bearer","expires_in":3600,` +
				`"expires_in":3600,"ACCESS_TOKEN":"a","access_token":"understood by MSAL"}`})
			_, _ = f.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			i, log := listening(w)
			base := w.Entra.Transport()
			defer base.CloseIdleConnections()
			test.do(t, flows{i, w.AddUsers(1)[0], &http.Client{Transport: base}, slog.New(slog.NewTextHandler(log, nil))})
			if n := strings.Count(log.String(), pastTheGate); n != test.told {
				t.Errorf("told %d times, want %d", n, test.told)
			}
		})
	}
}

// keeps is the accessor that one writes first, in memory.
type keeps struct {
	key      string
	document []byte
}

func (k *keeps) Replace(context.Context, cache.Unmarshaler, cache.ReplaceHints) error { return nil }

func (k *keeps) Export(_ context.Context, m cache.Marshaler, hints cache.ExportHints) (err error) {
	k.key = hints.PartitionKey
	k.document, err = m.Marshal()
	return err
}

// Clients of the Cache's constructors have both halves; an option of the caller's comes after them.
func TestClientsOfTheCacheHaveBothHalves(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	cred, err := confidential.NewCredFromSecret(harness.ClientSecret)
	if err != nil {
		t.Fatal(err)
	}
	var tokens []string
	for n := range 2 {
		i, log := listening(w)
		app, err := i.Tokens.NewConfidential(w.Entra.Authority(harness.Tenant), harness.ClientID, cred,
			confidential.WithHTTPClient(i.HTTP))
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})))
		c, err := i.Tokens.NewPublic(harness.PublicID, public.WithAuthority(w.Entra.Authority(harness.Tenant)),
			public.WithHTTPClient(i.HTTP))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			harness.PublicSignIn(t, w, c, u)
		} else if accounts, err := c.Accounts(ctx); err != nil || len(accounts) != 1 {
			t.Errorf("the second instance has the accounts %v, %v", accounts, err)
		}
		if n := strings.Count(log.String(), pastTheGate); n > 0 {
			t.Error("a client of the Cache's lacks the gate")
		}
	}
	if tokens[0] != tokens[1] {
		t.Error("the second instance has another token")
	}
	w.Count(t, 1, "two confidential clients", entratest.ByGrant("client_credentials"))
}
