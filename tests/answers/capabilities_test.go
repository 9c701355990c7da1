package answers_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A client that declares capabilities (CP1: it can answer claims challenges) gets long-lived tokens that a resource may
// refuse with a challenge at any moment. One that does not declare them could not answer it.

var capable = []string{"CP1"}

// capabilitiesIn are those of the client for which a token of the emulator was issued.
func capabilitiesIn(t *testing.T, token string) []string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Capabilities []string `json:"xms_cc"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Capabilities
}

// hooks are the ways in which a client may use a Cache.
type hooks struct {
	name           string
	accessor, gate bool
}

func (h hooks) client(i *harness.Instance) *http.Client {
	if h.gate {
		return i.HTTP
	}
	return i.World.Entra.HTTPClient()
}

func (h hooks) app(i *harness.Instance, capabilities []string) confidential.Client {
	i.World.T.Helper()
	opts := []confidential.Option{confidential.WithClientCapabilities(capabilities)}
	if h.accessor {
		return harness.NewApp(i.World.T, i.World.Entra.Authority(harness.Tenant), i.Tokens, h.client(i), opts...)
	}
	return harness.NewApp(i.World.T, i.World.Entra.Authority(harness.Tenant), nil, h.client(i), opts...)
}

func (h hooks) public(i *harness.Instance, capabilities []string) public.Client {
	i.World.T.Helper()
	c, err := public.New(harness.PublicID, public.WithAuthority(i.World.Entra.Authority(harness.Tenant)),
		public.WithCache(i.Tokens), public.WithHTTPClient(h.client(i)), public.WithClientCapabilities(capabilities))
	if err != nil {
		i.World.T.Fatal(err)
	}
	return c
}

// flow is a way to a token: begin is what somebody does once, acquire what each client does. alone: how many requests
// four clients make that share nothing, of which two pairs could share.
type flow struct {
	name    string
	begin   func(*harness.World, hooks, *harness.Instance, []string) any
	acquire func(hooks, *harness.Instance, []string, any) (string, error)
	// works tells whether the flow shares tokens by these hooks at all.
	works func(hooks) bool
}

func flows(t *testing.T) []flow {
	ctx := context.Background()
	always := func(hooks) bool { return true }
	withAccessor := func(h hooks) bool { return h.accessor }
	token := func(r confidential.AuthResult, err error) (string, error) { return r.AccessToken, err }
	return []flow{
		{"app", func(*harness.World, hooks, *harness.Instance, []string) any { return nil },
			func(h hooks, i *harness.Instance, capabilities []string, _ any) (string, error) {
				return token(h.app(i, capabilities).AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			}, always},
		{"on behalf of", func(w *harness.World, _ hooks, _ *harness.Instance, _ []string) any {
			return w.Assertion(t, w.AddUsers(1)[0])
		},
			func(h hooks, i *harness.Instance, capabilities []string, assertion any) (string, error) {
				return token(h.app(i, capabilities).AcquireTokenOnBehalfOf(ctx, assertion.(string), []string{harness.MailScope}))
			}, func(h hooks) bool { return h.gate }},
		{"user", func(w *harness.World, h hooks, i *harness.Instance, capabilities []string) any {
			return i.SignIn(h.app(i, capabilities), w.AddUsers(1)[0]).Account.HomeAccountID
		}, func(h hooks, i *harness.Instance, capabilities []string, account any) (string, error) {
			return token(harness.Silent(ctx, h.app(i, capabilities), account.(string)))
		}, withAccessor},
		{"user of a public client", func(w *harness.World, h hooks, i *harness.Instance, capabilities []string) any {
			return harness.PublicSignIn(t, w, h.public(i, capabilities), w.AddUsers(1)[0]).Account
		}, func(h hooks, i *harness.Instance, capabilities []string, account any) (string, error) {
			r, err := h.public(i, capabilities).AcquireTokenSilent(ctx, []string{harness.UserScope},
				public.WithSilentAccount(account.(public.Account)))
			return r.AccessToken, err
		}, withAccessor},
	}
}

// Whoever comes first, no client gets a token with capabilities that it did not declare, and with the gate each gets
// one with just those that it declared; and clients that declare the same share one request.
func TestCapabilitiesKeepTokensApart(t *testing.T) {
	for _, h := range []hooks{
		{"accessor and gate", true, true}, {"gate alone", false, true}, {"accessor alone", true, false},
	} {
		for _, f := range flows(t) {
			for _, together := range []bool{false, true} {
				for _, first := range [][]string{capable, nil} {
					if !f.works(h) {
						continue
					}
					name := h.name + "/" + f.name + "/" +
						map[bool]string{false: "four instances", true: "one instance"}[together] + "/" +
						map[bool]string{false: "CP1 first", true: "CP1 second"}[first == nil]
					t.Run(name, func(t *testing.T) { keptApart(t, h, f, together, first) })
				}
			}
		}
	}
}

func keptApart(t *testing.T, h hooks, f flow, together bool, first []string) {
	w := harness.NewWorld(t)
	shared := w.Instance()
	next := func() *harness.Instance {
		if together {
			return shared
		}
		return w.Instance()
	}
	what := f.begin(w, h, shared, first)
	second := capable
	if first != nil {
		second = nil
	}
	tokens := map[bool]map[string]bool{true: {}, false: {}}
	for n, capabilities := range [][]string{first, second, first, second} {
		token, err := f.acquire(h, next(), capabilities, what)
		if err != nil {
			t.Fatalf("client %d: %v", n, err)
		}
		got := capabilitiesIn(t, token)
		if len(got) > 0 && len(capabilities) == 0 {
			t.Errorf("client %d declares no capabilities and got a token for a client with %q", n, got)
		}
		if h.gate && !slices.Equal(got, capabilities) {
			t.Errorf("client %d declares %q and got a token for a client with %q", n, capabilities, got)
		}
		tokens[len(capabilities) > 0][token] = true
	}
	if h.gate {
		if len(tokens[true]) != 1 || len(tokens[false]) != 1 {
			t.Errorf("%d and %d tokens for two clients each, want one each", len(tokens[true]), len(tokens[false]))
		}
		w.Count(t, 2, "two clients with CP1 and two without")
	}
}

// Once MSAL has one token of the gate's, the accessor gives its client what else there is of its capabilities, and
// nothing is asked for at the gate any more.
func TestClientPassesGateOnceToBeKnown(t *testing.T) {
	ctx := context.Background()
	for name, capabilities := range map[string][]string{"CP1": capable, "none": nil} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			with := hooks{"", true, true}
			before := with.app(w.Instance(), capabilities)
			for _, scope := range []string{harness.GraphScope, harness.DynamicsScope} {
				harness.Must(t)(before.AcquireTokenByCredential(ctx, []string{scope}))
			}
			i := w.Instance()
			i.SignIn(before, u)
			asked := w.Entra.Count()

			posts := &postCounter{RoundTripper: i.HTTP.Transport}
			i.HTTP = &http.Client{Transport: posts}
			app := with.app(i, capabilities)
			for range 3 {
				harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
				harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
				harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))
			}
			if n := posts.n.Load(); n != 1 {
				t.Errorf("a new client asked for a token %d times, want once", n)
			}
			w.Count(t, asked, "a new client")
		})
	}
}

type postCounter struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *postCounter) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost {
		c.n.Add(1)
	}
	return c.RoundTripper.RoundTrip(req)
}

// A sign-out, and the removal of an app's tokens, take the tokens of every capability.
func TestRemovalTakesTokensOfAllCapabilities(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	with := hooks{"", true, true}
	i, other := w.Instance(), w.Instance()
	plain, able := with.app(i, nil), with.app(other, capable)
	account := i.SignIn(plain, u).Account.HomeAccountID
	harness.Must(t)(harness.Silent(ctx, able, account))
	old := []string{harness.Must(t)(plain.AcquireTokenByCredential(ctx, []string{harness.GraphScope})),
		harness.Must(t)(able.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))}
	access := func(r harness.Record) bool { return r.Section == msaldoc.SectionAccessToken }
	if n := len(slices.DeleteFunc(w.Records(), func(r harness.Record) bool { return !access(r) })); n != 4 {
		t.Fatalf("%d access tokens in Redis, want two of the app and two of the user", n)
	}
	if err := i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope); err != nil {
		t.Fatal(err)
	}
	if err := i.Tokens.RemoveAccount(ctx, account); err != nil {
		t.Fatal(err)
	}
	if left := w.Records(); len(left) > 0 {
		t.Errorf("%d values are left in Redis", len(left))
	}
	for n, capabilities := range [][]string{nil, capable} {
		app := with.app(w.Instance(), capabilities)
		if token := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})); token == old[n] {
			t.Errorf("client with %q: a token that was removed", capabilities)
		}
		if _, err := harness.Silent(ctx, app, account); err == nil {
			t.Errorf("client with %q: a token of a user who has signed out", capabilities)
		}
	}
}
