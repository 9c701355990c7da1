package gate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A refused client: likewise, and clients with the right secret are not affected.
func TestClientErrorReachesAllAfterOneRequest(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	a, b := w.Instance(), w.Instance()
	cred, err := confidential.NewCredFromSecret("not-the-secret-of-this-client")
	if err != nil {
		t.Fatal(err)
	}
	var apps []confidential.Client
	for _, i := range []*harness.Instance{a, b} {
		app, err := confidential.New(w.Entra.Authority(harness.Tenant), harness.ClientID, cred,
			confidential.WithCache(i.Tokens), confidential.WithHTTPClient(i.HTTP))
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, app)
	}
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	}) {
		if g.Err == nil || !strings.Contains(g.Err.Error(), "AADSTS7000215") {
			t.Errorf("a caller got %v, want AADSTS7000215", g.Err)
		}
	}
	w.Count(t, 1, "stampede with a wrong secret")
	harness.Must(t)(a.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	w.Count(t, 2, "another client with the right one")
}

// 429 with Retry-After: one request, and everybody learns how long to wait; other identities go on.
func TestThrottlingReachesAllAfterOneRequest(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	a, b := w.Instance(), w.Instance()
	apps := []confidential.Client{a.App(), b.App()}
	w.Entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "7",
		Match: entratest.ByScope(harness.GraphScope)})
	throttled := func(err error) {
		t.Helper()
		var call msalerrors.CallErr
		if !errors.As(err, &call) || call.Resp.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("a caller got %v, want 429", err)
		}
		var left int
		if n, _ := fmt.Sscan(call.Resp.Header.Get("Retry-After"), &left); n != 1 || left < 1 || left > 7 {
			t.Errorf("Retry-After is %q, want what is left of 7", call.Resp.Header.Get("Retry-After"))
		}
	}
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	}) {
		throttled(g.Err)
	}
	w.Count(t, 1, "throttled stampede")
	// Who comes next, on another instance too, learns it without asking.
	_, err := w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	throttled(err)
	w.Count(t, 1, "after the throttling")
	harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
	w.Count(t, 2, "another scope")
}

// A server's error or a connection that drops, once: the leader asks again and callers see a token.
func TestPassingFailureIsRetriedOnce(t *testing.T) {
	for name, fault := range map[string]entratest.Fault{
		"500":     {Status: http.StatusInternalServerError},
		"502":     {Status: http.StatusBadGateway},
		"503":     {Status: http.StatusServiceUnavailable},
		"504":     {Status: http.StatusGatewayTimeout},
		"dropped": {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			ctx := context.Background()
			apps := []confidential.Client{w.Instance().App(), w.Instance().App()}
			fault.Times = 1
			w.Entra.AddFault(fault)
			harness.OneToken(t, stampede(t, w, func(i int) (confidential.AuthResult, error) {
				return apps[i%2].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			}))
			w.Count(t, 2, "a failure and its retry")
		})
	}
}

// One retry, no more: a server that goes on failing is left in peace, and its error reaches the callers.
func TestLastingFailureIsRetriedOnce(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	apps := []confidential.Client{w.Instance().App(), w.Instance().App()}
	w.Entra.AddFault(entratest.Fault{Status: http.StatusBadGateway})
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	}) {
		if g.Err == nil || !strings.Contains(g.Err.Error(), "reply status code was 502") {
			t.Errorf("a caller got %v, want the server's 502", g.Err)
		}
	}
	w.Count(t, 2, "a failure and its retry")
}

// Whatever the server answers, MSAL sees it with the gate as it would without.
func TestOddAnswersPassAsMSALWouldSeeThem(t *testing.T) {
	identity := func(b []byte) []byte { return b }
	for name, fault := range map[string]entratest.Fault{
		"JSON called HTML":      {Transform: identity, ContentType: "text/html; charset=utf-8"},
		"JSON called nothing":   {Transform: identity, ContentType: "application/octet-stream"},
		"HTML":                  {Body: "<html><body>Sign in</body></html>"},
		"empty":                 {Status: http.StatusOK, Body: " "},
		"no content":            {Status: http.StatusAccepted, Body: "{}"},
		"404 in HTML":           {Status: http.StatusNotFound, Body: "<html>not here</html>"},
		"400 with an odd body":  {Status: http.StatusBadRequest, Body: `["what"]`},
		"error with status 200": {Body: `{"error":"temporarily_unavailable","error_description":"AADSTS90033"}`},
		"JSON after a prefix":   {Transform: func(b []byte) []byte { return append([]byte(")]}'\n"), b...) }},
		"an unknown member": {Transform: func(b []byte) []byte {
			return append([]byte(`{"x":{"y":[1,2.5e3,null]},`), b[1:]...)
		}},
		"expires_in as a string": {Transform: func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"expires_in":3600`), []byte(`"expires_in":"3600"`), 1)
		}},
		"expires_in as a decimal": {Transform: func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"expires_in":3600`), []byte(`"expires_in":3600.5`), 1)
		}},
		"expires_on as a date": {Transform: func(b []byte) []byte {
			return append([]byte(`{"expires_on":"2098-01-02T03:04:05Z",`), b[1:]...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			ctx := context.Background()
			plain := harness.NewApp(t, w.Entra.Authority(harness.Tenant), nil, w.Entra.HTTPClient())
			gated := w.Instance().App()
			w.Entra.AddFault(fault)
			without, err1 := plain.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			with, err2 := gated.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			if comparable(w, err1) != comparable(w, err2) {
				t.Errorf("without the gate: %v\nwith it: %v", err1, err2)
			}
			if (without.AccessToken == "") != (with.AccessToken == "") {
				t.Errorf("without the gate a token: %v, with it: %v", without.AccessToken != "", with.AccessToken != "")
			}
			if d := without.ExpiresOn.Sub(with.ExpiresOn).Abs(); d > 20*time.Second {
				t.Errorf("without the gate it expires at %v, with it at %v", without.ExpiresOn, with.ExpiresOn)
			}
		})
	}
}

// An answer that is no token with a life is nobody else's: MSAL sees it as it would without the gate, or a clear error
// where it is too large to read; it is not kept for others, and what there was before is still there: the app's old
// token, which was being refreshed, the user's, and the refresh token.
func TestOddAnswersAreNotKeptAndLoseNothing(t *testing.T) {
	t.Parallel()
	life := func(to string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(`"expires_in":3600`), []byte(to), 1) }
	}
	const tooLarge = "larger than 1 MiB"
	for name, test := range map[string]struct {
		fault entratest.Fault
		says  string // of the gate's own error; empty: as without the gate
	}{
		"not JSON": {fault: entratest.Fault{Body: "<html><body>Sign in</body></html>"}},
		"cut off":  {fault: entratest.Fault{Transform: func(b []byte) []byte { return b[:len(b)-2] }}},
		"no access token": {fault: entratest.Fault{Transform: func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"access_token"`), []byte(`"x"`), 1)
		}}},
		"without expires_in":      {fault: entratest.Fault{Transform: life(`"x":1`)}},
		"expires_in null":         {fault: entratest.Fault{Transform: life(`"expires_in":null`)}},
		"expires_in in words":     {fault: entratest.Fault{Transform: life(`"expires_in":"an hour"`)}},
		"no life":                 {fault: entratest.Fault{Transform: life(`"expires_in":0`)}},
		"negative life":           {fault: entratest.Fault{Transform: life(`"expires_in":-3600`)}},
		"negative life, a string": {fault: entratest.Fault{Transform: life(`"expires_in":"-3600"`)}},
		"expired in expires_on": {fault: entratest.Fault{Transform: func(b []byte) []byte {
			return append([]byte(`{"expires_on":1500000000,`), b[1:]...)
		}}},
		"larger than 1 MiB": {says: tooLarge, fault: entratest.Fault{Transform: func(b []byte) []byte {
			return append([]byte(`{"x":"`+strings.Repeat("x", 1<<20)+`",`), b[1:]...)
		}}},
		"larger than 1 MiB, no JSON": {says: tooLarge, fault: entratest.Fault{Body: strings.Repeat("<p>", 1<<19)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // nearly all of it is the wait for a token to be due
			w := harness.NewWorld(t)
			ctx := context.Background()
			u := w.AddUsers(1)[0]
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn, b.AccessTokenLifetime = time.Second, time.Hour })
			a, b := w.Instance(), w.Instance()
			app := a.App()
			due := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
			user := a.SignIn(app, u).AccessToken
			plain := harness.NewApp(t, w.Entra.Authority(harness.Tenant), nil, w.Entra.HTTPClient())
			a.SignIn(plain, u)
			before := responses(w)
			if len(before) == 0 {
				t.Fatal("no answer is kept: this test shows nothing")
			}
			harness.WaitUntil(time.Now().Add(1500 * time.Millisecond))

			w.Entra.ResetRequests()
			var sent atomic.Value
			sent.Store([]byte(test.fault.Body))
			if transform := test.fault.Transform; transform != nil {
				test.fault.Transform = func(b []byte) []byte {
					b = transform(b)
					sent.Store(b)
					return b
				}
			}
			remove := w.Entra.AddFault(test.fault)
			defer remove()
			// The old token is served while its refresh is answered so.
			if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != due {
				t.Error("not the old token while it is being refreshed")
			}
			harness.Eventually(t, "the refresh is answered", func() bool {
				return len(w.Entra.Requests()) > 0 && !w.Entra.Requests()[0].Answered.IsZero()
			})
			form := url.Values{"grant_type": {harness.AppGrant}, "client_id": {harness.ClientID},
				"client_secret": {harness.ClientSecret}, "scope": {"https://raw.example.com/.default"}}
			resp, err := a.HTTP.PostForm(w.Entra.Authority(harness.Tenant)+"/oauth2/v2.0/token", form)
			if err == nil {
				body, readErr := io.ReadAll(resp.Body)
				resp.Body.Close()
				if readErr != nil || !bytes.Equal(body, sent.Load().([]byte)) {
					t.Errorf("the answer is not what the server sent: %d bytes of %d, %v",
						len(body), len(sent.Load().([]byte)), readErr)
				}
			}
			if (err == nil) != (test.says == "") {
				t.Errorf("the request itself: %v", err)
			}
			for what, acquire := range map[string]func(confidential.Client) (confidential.AuthResult, error){
				"app": func(c confidential.Client) (confidential.AuthResult, error) {
					return c.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
				},
				"user": func(c confidential.Client) (confidential.AuthResult, error) {
					return harness.Silent(ctx, c, u.HomeAccountID(), harness.MailScope)
				},
			} {
				with, err := acquire(app)
				harness.Canary.SawError(err)
				if test.says != "" {
					var final interface{ NonRetriable() }
					if err == nil || !strings.Contains(err.Error(), test.says) || !errors.As(err, &final) {
						t.Errorf("%s: %v, want an error that says %q and is not retried", what, err, test.says)
					}
					continue
				}
				without, plainErr := acquire(plain)
				if comparable(w, err) != comparable(w, plainErr) {
					t.Errorf("%s: without the gate: %v\nwith it: %v", what, plainErr, err)
				}
				if (without.AccessToken == "") != (with.AccessToken == "") ||
					without.ExpiresOn.Sub(with.ExpiresOn).Abs() > 20*time.Second {
					t.Errorf("%s: without the gate a token: %v, until %v; with it: %v, until %v",
						what, without.AccessToken != "", without.ExpiresOn, with.AccessToken != "", with.ExpiresOn)
				}
			}

			// Nothing of it is kept, and all that was there is.
			if after := responses(w); !maps.Equal(before, after) {
				t.Errorf("the answers that are kept have changed: %d before, %d after", len(before), len(after))
			}
			for name, app := range map[string]confidential.Client{
				"same": app, "other": b.App(), "gate alone on a new": w.Instance().GateApp(),
			} {
				if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != due {
					t.Errorf("%s instance: the app's token is another", name)
				}
				if name == "gate alone on a new" {
					continue
				}
				if harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) != user {
					t.Errorf("%s instance: the user's token is another", name)
				}
			}
			remove()
			other := b.App()
			harness.Eventually(t, "the refresh token serves again", func() bool { // an error is everybody's for two seconds
				_, err := harness.Silent(ctx, other, u.HomeAccountID(), harness.MailScope)
				return err == nil
			})
		})
	}
}
