package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

const audience = "https://api.contoso.example"

// newWorld has an API behind guards of several kinds, each at a host of its own.
func newWorld(t *testing.T, guards map[string]Guard) *World {
	t.Helper()
	w, err := Open(Example{Emulate: func(w *World) error {
		apis := map[string]http.Handler{}
		for host, g := range guards {
			g.Entra = w.Entra
			apis[host] = g.Wrap(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { JSON(out, CallerOf(r)) }))
		}
		return w.Serve(apis)
	}}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// token is one of the emulator's for the app.
func (w *World) token(t *testing.T, authority, scope string, opts ...confidential.Option) string {
	t.Helper()
	cred, err := confidential.NewCredFromSecret(w.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		t.Fatal(err)
	}
	app, err := confidential.New(authority, w.Getenv("AZURE_CLIENT_ID"), cred,
		append(opts, confidential.WithHTTPClient(&http.Client{Transport: w.Network}))...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := app.AcquireTokenByCredential(context.Background(), []string{scope})
	if err != nil {
		t.Fatal(err)
	}
	return r.AccessToken
}

func (w *World) call(t *testing.T, host, authorization string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := (&http.Client{Transport: w.Network}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestGuardLetsInWhoHasATokenForTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]Guard{
		"api.contoso.example":  {Audience: audience},
		"gov.contoso.example":  {Audience: audience, Authority: "login.microsoftonline.us"},
		"cert.contoso.example": {Audience: audience, CertificateOnly: true},
	})
	w.Entra.AddUser(entratest.User{Username: "ada@contoso.example"})
	good := w.token(t, "https://login.microsoftonline.com/contoso.example", audience+"/.default")
	gov := w.token(t, "https://login.microsoftonline.us/contoso.example", audience+"/.default")
	other := w.token(t, "https://login.microsoftonline.com/contoso.example", "https://graph.microsoft.com/.default")
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = -time.Hour })
	old, err := w.Entra.UserToken(w.Getenv("AZURE_CLIENT_ID"), "ada@contoso.example", audience+"/read")
	if err != nil {
		t.Fatal(err)
	}
	head, signature := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.'):]
	for name, test := range map[string]struct {
		host, authorization string
		status              int
		challenge           string
	}{
		"good":                         {"api", "Bearer " + good, 200, ""},
		"a tenant of another cloud":    {"api", "Bearer " + gov, 401, `error="invalid_token"`},
		"the cloud's own":              {"gov", "Bearer " + gov, 200, ""},
		"the public cloud's, in a gov": {"gov", "Bearer " + good, 401, `error="invalid_token"`},
		"for another API":              {"api", "Bearer " + other, 401, `error="invalid_token"`},
		"changed":                      {"api", "Bearer " + head + "x" + signature, 401, `error="invalid_token"`},
		"expired":                      {"api", "Bearer " + old, 401, `error="invalid_token"`},
		"no token":                     {"api", "", 401, `resource_id="` + audience + `"`},
		"another scheme": {"api", "Basic " + good, 401,
			`authorization_uri="https://login.microsoftonline.com/`},
		"a secret's": {"cert", "Bearer " + good, 401, "Unsupported app only token."},
	} {
		resp, body := w.call(t, test.host+".contoso.example", test.authorization)
		if resp.StatusCode != test.status || !strings.Contains(resp.Header.Get("WWW-Authenticate"), test.challenge) {
			t.Errorf("%s: %s, %q", name, resp.Status, resp.Header.Get("WWW-Authenticate"))
		}
		var c Caller
		if test.status == 200 && (json.Unmarshal([]byte(body), &c) != nil || c.Tenant == "" || c.Proof != "1") {
			t.Errorf("%s: caller %s", name, body)
		}
	}
	if n := w.Answers("api.contoso.example", 401); n != 6 {
		t.Errorf("%d refusals counted at the first API, want 6", n)
	}
}

// A revoked token is challenged where its client can answer, and no other is.
func TestGuardRevokesOneToken(t *testing.T) {
	t.Parallel()
	const host = "api.contoso.example"
	w := newWorld(t, map[string]Guard{host: {Audience: audience, RevokeAfter: 2}})
	authority, scope := "https://login.microsoftonline.com/contoso.example", audience+"/.default"
	capable := w.token(t, authority, scope, confidential.WithClientCapabilities([]string{"CP1"}))
	for i, want := range []int{200, 200, 401, 401} {
		resp, _ := w.call(t, host, "Bearer "+capable)
		if resp.StatusCode != want {
			t.Errorf("request %d: %s, want %d", i+1, resp.Status, want)
		}
		if challenge := resp.Header.Get("WWW-Authenticate"); want == 401 &&
			(!strings.Contains(challenge, `error="insufficient_claims"`) || !strings.Contains(challenge, `claims="`)) {
			t.Errorf("request %d: %q is no claims challenge", i+1, challenge)
		}
	}
	if resp, _ := w.call(t, host, "Bearer "+w.token(t, authority, scope,
		confidential.WithClientCapabilities([]string{"CP1"}))); resp.StatusCode != 200 {
		t.Errorf("a new token: %s", resp.Status)
	}
}

func TestPagesHoldAllOnce(t *testing.T) {
	t.Parallel()
	all := make([]int, 25)
	for i := range all {
		all[i] = i
	}
	for _, test := range []struct {
		query, prefer string
		pages         int
	}{
		{"", "", 3}, {"?$top=5", "", 5}, {"", "odata.maxpagesize=25", 3}, {"", "respond-async, odata.maxpagesize=7", 4},
	} {
		var got []int
		pages := 0
		for next := "https://api.contoso.example/items" + test.query; next != ""; pages++ {
			r, err := http.NewRequest(http.MethodGet, next, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Prefer", test.prefer)
			var part []int
			part, next = Page(r, all, 10)
			got = append(got, part...)
		}
		if len(got) != len(all) || pages != test.pages || got[24] != 24 {
			t.Errorf("%q, %q: %d of %d in %d pages, want %d", test.query, test.prefer, len(got), len(all), pages, test.pages)
		}
	}
}

func TestLimitRefusesUntilThePauseIsOver(t *testing.T) {
	t.Parallel()
	l := &Limit{Requests: 2, Pause: time.Hour}
	for i, want := range []int{1, 0} {
		if left, wait := l.Take(); left != want || wait != 0 {
			t.Errorf("request %d: %d left, wait %v", i+1, left, wait)
		}
	}
	if _, wait := l.Take(); wait != time.Hour || Seconds(wait) != "3600" {
		t.Errorf("the third waits %v, want an hour", wait)
	}
	l.until = time.Now()
	if left, wait := l.Take(); left != 1 || wait != 0 {
		t.Errorf("after the pause: %d left, wait %v", left, wait)
	}
	if got := Seconds(time.Second + 1); got != "2" {
		t.Errorf("a bit more than a second is %s", got)
	}
}

// What the environment names is used; what is missing is named.
func TestOpenTakesWhatIsNamed(t *testing.T) {
	t.Parallel()
	e := Example{Name: "x", Settings: []string{"AZURE_TENANT_ID", "DATAVERSE_URL"}, Emulate: func(w *World) error {
		w.Set("DATAVERSE_URL", "emulated")
		return nil
	}, Run: func(context.Context, io.Writer, *World) error { return nil }}
	open := func(env map[string]string) (*World, error) {
		w, err := Open(e, func(name string) string { return env[name] })
		if err == nil {
			t.Cleanup(w.Close)
		}
		return w, err
	}
	w, err := open(map[string]string{"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "t", "DATAVERSE_URL": "https://real",
		"REDIS_URL": "redis://there", "TOKEN_CACHE_KEYS": "keys"})
	if err != nil {
		t.Fatal(err)
	}
	if w.Network != nil || w.CacheOptions != nil || w.Entra != nil || w.Getenv("DATAVERSE_URL") != "https://real" ||
		w.Getenv("REDIS_URL") != "redis://there" || len(w.Environ()) > 0 {
		t.Errorf("the real services are not used: %v", w.Environ())
	}
	w, err = open(map[string]string{"REDIS_URL": "redis://there", "DATAVERSE_URL": "https://real"})
	if err != nil {
		t.Fatal(err)
	}
	if w.Network == nil || w.Entra == nil || w.Getenv("DATAVERSE_URL") != "emulated" ||
		!strings.HasPrefix(w.Getenv("REDIS_URL"), "redis://127.0.0.1:") || w.Getenv("TOKEN_CACHE_KEYS") == "" {
		t.Errorf("not all is emulated: %v", w.Environ())
	}
	if env := w.Environ(); len(env) != 7 || !strings.HasPrefix(env[0], "AZURE_CLIENT_ID=") {
		t.Errorf("the emulated settings: %v", env)
	}
	for want, env := range map[string]map[string]string{
		"DATAVERSE_URL is missing": {"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "t"},
		"REDIS_URL is missing":     {"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "t", "DATAVERSE_URL": "u"},
		"TOKEN_CACHE_KEYS is missing": {"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "t", "DATAVERSE_URL": "u",
			"REDIS_URL": "redis://there"},
	} {
		if _, err := open(env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	var out bytes.Buffer
	if err := e.emulated(t.Context(), &out); err != nil ||
		out.String() != "\nEntra ID (emulated): token requests: 0\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}
