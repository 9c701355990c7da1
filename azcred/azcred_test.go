package azcred_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/apiclient"
	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tokensource"
)

const (
	clientID  = "11111111-aaaa-4bbb-8ccc-000000000001"
	secret    = "the-client's-secret"
	tenant    = entratest.DefaultTenant
	vault     = "https://vault.azure.net/.default"
	graph     = "https://graph.microsoft.com/.default"
	challenge = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
)

type world struct {
	t      *testing.T
	redis  *redistest.Server
	entra  *entratest.Server
	prefix string
	sealer serializer.Serializer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, redis: redistest.Start(t), prefix: redistest.Prefix(t)}
	var err error
	if w.entra, err = entratest.NewServer(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.entra.Close() })
	w.entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	if w.sealer, err = serializer.NewEncrypted(key); err != nil {
		t.Fatal(err)
	}
	return w
}

// cache is one process's Cache, with its gate before the emulator.
func (w *world) cache(prefix string) (*msalredis.Cache, *http.Client) {
	w.t.Helper()
	c, err := msalredis.New(w.redis.Client(), w.sealer, &msalredis.Options{Prefix: prefix, OpTimeout: 10 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	base := w.entra.Transport()
	w.t.Cleanup(base.CloseIdleConnections)
	return c, &http.Client{Transport: c.Transport(base)}
}

// credential is that of one process.
func (w *world) credential(change ...func(*azcred.Options)) *azcred.Credential {
	w.t.Helper()
	c, _ := w.cache(w.prefix)
	return w.on(c, change...)
}

func (w *world) on(c *msalredis.Cache, change ...func(*azcred.Options)) *azcred.Credential {
	w.t.Helper()
	base := w.entra.Transport()
	w.t.Cleanup(base.CloseIdleConnections)
	o := &azcred.Options{Transport: base}
	for _, f := range change {
		f(o)
	}
	cred, err := azcred.New(w.entra.Authority(tenant), clientID, w.secret(), c, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return cred
}

func (w *world) secret() confidential.Credential {
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return cred
}

func (w *world) count(want int, what string, match ...func(entratest.Request) bool) {
	w.t.Helper()
	if n := w.entra.Count(match...); n != want {
		w.t.Errorf("%s: %d token requests, want %d", what, n, want)
	}
}

func get(t *testing.T, cred azcore.TokenCredential, o policy.TokenRequestOptions) azcore.AccessToken {
	t.Helper()
	tk, err := cred.GetToken(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func plain(scope string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{scope}}
}

func cae(scope string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{scope}, EnableCAE: true}
}

// One request for each token, of each kind, whatever the number of processes and goroutines; a token says when it is
// due.
func TestOneRequestPerTokenInAllProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, o := range []policy.TokenRequestOptions{plain(vault), cae(vault), cae(graph)} {
		w.entra.ResetRequests()
		tokens := make(chan azcore.AccessToken, 64)
		var wg sync.WaitGroup
		for range 4 {
			cred := w.credential()
			for range 16 {
				wg.Go(func() {
					tk, err := cred.GetToken(context.Background(), o)
					if err != nil {
						t.Error(err)
					}
					tokens <- tk
				})
			}
		}
		wg.Wait()
		close(tokens)
		first := <-tokens
		for tk := range tokens {
			if tk.Token != first.Token {
				t.Errorf("EnableCAE %v: two tokens", o.EnableCAE)
			}
		}
		if left := time.Until(first.ExpiresOn); left < 50*time.Minute || left > time.Hour {
			t.Errorf("the token ends in %v, want about an hour", left)
		}
		if due := time.Until(first.RefreshOn); due < 20*time.Minute || due > 40*time.Minute {
			t.Errorf("the token is due in %v, want about half an hour", due)
		}
		w.count(1, "64 callers in 4 processes")
	}
}

// Tokens of requests with EnableCAE and without are never taken for each other, in this process, in another, and by an
// MSAL client of the same app.
func TestCAETokensAreKeptApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, own := range []bool{false, true} {
		w.prefix = redistest.Prefix(t)
		w.entra.ResetRequests()
		credential := func() *azcred.Credential {
			if !own {
				return w.credential()
			}
			c, _ := w.cache(w.prefix + "-cae")
			plainCache, _ := w.cache(w.prefix)
			return w.on(plainCache, func(o *azcred.Options) { o.CAE = c })
		}
		one, two := credential(), credential()
		with := get(t, one, cae(vault)).Token
		without := get(t, one, plain(vault)).Token
		if with == without {
			t.Error("a request without EnableCAE got a CAE token")
		}
		if get(t, one, cae(vault)).Token != with || get(t, two, cae(vault)).Token != with {
			t.Error("CAE tokens are not shared")
		}
		if get(t, one, plain(vault)).Token != without || get(t, two, plain(vault)).Token != without {
			t.Error("tokens without CAE are not shared")
		}
		c, gate := w.cache(w.prefix)
		app, err := confidential.New(w.entra.Authority(tenant), clientID, w.secret(),
			confidential.WithCache(c), confidential.WithHTTPClient(gate))
		if err != nil {
			t.Fatal(err)
		}
		r, err := app.AcquireTokenByCredential(context.Background(), []string{vault})
		if err != nil {
			t.Fatal(err)
		}
		if r.AccessToken != without {
			t.Error("an MSAL client of the same app has another token than the credential without CAE")
		}
		w.count(2, "one token with CAE, one without")
		w.count(1, "with the capability", func(r entratest.Request) bool { return strings.Contains(r.Claims, "CP1") })
	}
}

// With a cache of its own for CAE, what is forgotten in one cache is gone from every process's memory, and the other
// cache keeps its own: each MSAL client has the gate of its own cache, also with a transport of the caller's.
func TestForgottenTokensAreAskedForAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plainCache, _ := w.cache(w.prefix)
	caeCache, _ := w.cache(w.prefix + "-cae")
	cred := w.on(plainCache, func(o *azcred.Options) { o.CAE = caeCache })
	with, without := get(t, cred, cae(vault)).Token, get(t, cred, plain(vault)).Token
	if err := caeCache.ForgetAppTokens(context.Background(), clientID, tenant); err != nil {
		t.Fatal(err)
	}
	if get(t, cred, plain(vault)).Token != without {
		t.Error("the token without CAE was forgotten with the others")
	}
	old := with
	if with = get(t, cred, cae(vault)).Token; with == old {
		t.Error("the forgotten CAE token was served")
	}
	if err := plainCache.ForgetAppTokens(context.Background(), clientID, tenant); err != nil {
		t.Fatal(err)
	}
	if get(t, cred, cae(vault)).Token != with {
		t.Error("the CAE token was forgotten with the others")
	}
	if get(t, cred, plain(vault)).Token == without {
		t.Error("the forgotten token without CAE was served")
	}
	w.count(4, "two tokens, forgotten, and their successors")
}

// A challenge is answered by a new token, which then serves every request, here and elsewhere.
func TestClaimsAreAnsweredByANewTokenForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.credential(), w.credential()
	old := get(t, one, cae(vault)).Token
	o := cae(vault)
	o.Claims = challenge
	renewed := get(t, one, o).Token
	if renewed == old {
		t.Error("a challenge was answered by the refused token")
	}
	if get(t, one, cae(vault)).Token != renewed || get(t, two, cae(vault)).Token != renewed {
		t.Error("after the challenge the refused token is served")
	}
	w.count(2, "a token and a challenge")
	w.count(1, "the challenge", func(r entratest.Request) bool {
		return strings.Contains(r.Claims, "nbf") && strings.Contains(r.Claims, "CP1")
	})
}

func TestTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const other = "9c1f2a4e-5b0d-4e6a-9c3b-2f8e1d0a6b59"
	asked := func(tenant string) policy.TokenRequestOptions {
		return policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: tenant, EnableCAE: true}
	}
	for _, test := range []struct {
		allowed []string
		tenant  string
		ok      bool
	}{
		{nil, "", true},
		{nil, tenant, true},
		{nil, strings.ToUpper(tenant), true},
		{nil, other, false},
		{[]string{"third.example"}, other, false},
		{[]string{"third.example", other}, other, true},
		{[]string{"*"}, other, true},
	} {
		cred := w.credential(func(o *azcred.Options) { o.AdditionallyAllowedTenants = test.allowed })
		_, err := cred.GetToken(context.Background(), asked(test.tenant))
		if test.ok && err != nil {
			t.Errorf("allowed %q, asked %q: %v", test.allowed, test.tenant, err)
		}
		if !test.ok && (err == nil || !strings.Contains(err.Error(), "AdditionallyAllowedTenants")) {
			t.Errorf("allowed %q, asked %q: %v, want an error that names the option", test.allowed, test.tenant, err)
		}
	}
	// What is no tenant is none whatever is allowed, and asks nobody anything.
	for _, asked := range []string{"../common", "common/../" + other, "..", ".", "-", other + "/oauth2", other + "?x=",
		other + "#", other + "%2f..", `..\common`, " " + other, other + "\n", "t\u00e9nant.example", "user@contoso.com"} {
		for _, allowed := range [][]string{nil, {"*"}, {asked}} {
			cred := w.credential(func(o *azcred.Options) { o.AdditionallyAllowedTenants = allowed })
			for _, cred := range []*azcred.Credential{cred, cred.OnBehalfOf("assertion")} {
				_, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: asked})
				if err == nil || !strings.Contains(err.Error(), "no tenant") ||
					strings.Contains(err.Error(), asked) && len(asked) > 2 {
					t.Errorf("allowed %q, asked %q: %v, want an error that says so and does not quote it", allowed, asked, err)
				}
			}
		}
	}
	w.count(1, "the other tenant", entratest.ByTenant(other))
	w.count(1, "the credential's own tenant", entratest.ByTenant(tenant))
}

// On-behalf-of: one request for a user's assertion in all processes, and another user's token is another.
func TestOnBehalfOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	assertion := func(name string) string {
		_, a := w.user(name)
		return a
	}
	ada, bob := assertion("ada@contoso.com"), assertion("bob@contoso.com")
	one, two := w.credential(), w.credential()
	token := get(t, one.OnBehalfOf(ada), cae(graph)).Token
	if get(t, one.OnBehalfOf(ada), cae(graph)).Token != token || get(t, two.OnBehalfOf(ada), cae(graph)).Token != token {
		t.Error("a user's token is not shared")
	}
	if get(t, one.OnBehalfOf(bob), cae(graph)).Token == token {
		t.Error("one user got another's token")
	}
	if get(t, one, cae(graph)).Token == token {
		t.Error("the app got a user's token")
	}
	w.count(3, "two users and the app")
}

// Errors are not tried again by azcore, say what Entra ID said, and say nothing secret. A caller that leaves gets its
// own context's error.
func TestErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _ := w.cache(w.prefix)
	wrong, err := confidential.NewCredFromSecret("not-the-secret")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := azcred.New(w.entra.Authority(tenant), clientID, wrong, c, &azcred.Options{Transport: w.entra.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cred.GetToken(context.Background(), cae(vault))
	var final interface{ NonRetriable() }
	if !errors.As(err, &final) || !strings.Contains(err.Error(), "AADSTS7000215") ||
		strings.Contains(err.Error(), "not-the-secret") {
		t.Errorf("a wrong secret: %v", err)
	}
	if _, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{}); !errors.As(err, &final) {
		t.Errorf("no scopes: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = w.credential().GetToken(ctx, cae(vault)); !errors.Is(err, context.Canceled) || errors.As(err, &final) {
		t.Errorf("a caller that has left: %v", err)
	}
	for name, f := range map[string]func() error{
		"no cache": func() error { _, err := azcred.New(w.entra.Authority(tenant), clientID, wrong, nil, nil); return err },
		"no tenant": func() error {
			_, err := azcred.New("https://login.microsoftonline.com/", clientID, wrong, c, nil)
			return err
		},
		"no authority": func() error { _, err := azcred.New("%", clientID, wrong, c, nil); return err },
	} {
		if err := f(); err == nil || !strings.HasPrefix(err.Error(), "azcred: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Printed in whatever way, by mistake or in a log, a credential shows neither the app's secret nor a user's assertion;
// nor does what has one.
func TestPrintedCredentialsShowNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cred := w.credential()
	get(t, cred, cae(vault))
	user := cred.OnBehalfOf("a-user's-assertion")
	client, err := apiclient.New("https://api.example.com", cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"a pointer": cred, "the value": *cred, "of a user": user, "of a user, the value": *user,
		"in a list": []any{cred, *user}, "in a field": struct{ c azcred.Credential }{*cred},
		"in an interface": struct{ c azcore.TokenCredential }{user}, "a pointer to a pointer": &cred, "apiclient": client,
		"its transport":    client.Transport,
		"an oauth2 source": tokensource.OnBehalfOf(t.Context(), confidential.Client{}, "a-user's-assertion", nil),
	} {
		for _, verb := range strings.Split("%v %+v %#v %s %q %x %X %d %t %p %T %w %!", " ") {
			text := fmt.Sprintf(verb, v)
			for _, hidden := range []string{secret, "a-user's-assertion"} {
				if strings.Contains(text, hidden) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", hidden)) ||
					strings.Contains(text, fmt.Sprintf("%q", hidden)) {
					t.Errorf("%s is printed by %s with a secret", name, verb)
				}
			}
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("made", "it", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "it", v)
		if strings.Contains(log.String(), secret) || strings.Contains(log.String(), "assertion\"") {
			t.Errorf("%s is logged with a secret", name)
		}
	}
}

// Any credential of azidentity shares its tokens with the gate as its transport: with a secret and with an assertion,
// with CAE and without, of a user too.
func TestAzidentityOverTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, ada := w.user("ada@contoso.com")
	for name, newCred := range map[string]func(azcore.ClientOptions) (azcore.TokenCredential, error){
		"secret": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(tenant, clientID, secret,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: o})
		},
		"assertion": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(tenant, clientID,
				func(context.Context) (string, error) { return w.entra.FederatedCredential(clientID) },
				&azidentity.ClientAssertionCredentialOptions{ClientOptions: o})
		},
		"on-behalf-of": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewOnBehalfOfCredentialWithSecret(tenant, clientID, ada, secret,
				&azidentity.OnBehalfOfCredentialOptions{ClientOptions: o})
		},
	} {
		w.entra.ResetRequests()
		with, without := map[string]bool{}, map[string]bool{}
		for range 3 {
			_, gate := w.cache(w.prefix)
			cred, err := newCred(azcore.ClientOptions{Transport: gate})
			if err != nil {
				t.Fatal(err)
			}
			with[get(t, cred, cae(graph)).Token] = true
			without[get(t, cred, plain(graph)).Token] = true
		}
		if len(with) != 1 || len(without) != 1 {
			t.Errorf("%s: %d tokens with CAE and %d without in 3 processes, want one of each", name, len(with), len(without))
		}
		w.count(2, name)
	}
}
