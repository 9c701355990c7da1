package msalredis

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Without options of the caller's, a client of the Cache's goes through the gate, which asks by http.DefaultTransport,
// whatever the application has put there.
func TestClientsOfTheCacheUseTheDefaultTransport(t *testing.T) {
	const clientID, secret, user = "3eba9900-0000-4000-8000-000000000003", "known to everybody", "ada@contoso.com"
	const publicID = "3eba9900-0000-4000-8000-000000000004"
	ctx := context.Background()
	redis := redistest.Start(t).Client()
	real := http.DefaultTransport
	defer func() { http.DefaultTransport = real }()
	for name, wrap := range map[string]func(*http.Transport) http.RoundTripper{
		"an *http.Transport": func(t *http.Transport) http.RoundTripper { return t },
		"another": func(t *http.Transport) http.RoundTripper {
			return stage.RoundTrip(t.RoundTrip)
		},
	} {
		t.Run(name, func(t *testing.T) {
			entra, err := entratest.NewServer(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer entra.Close()
			entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
			entra.AddApp(entratest.App{ClientID: publicID, Public: true})
			entra.AddUser(entratest.User{Username: user})
			http.DefaultTransport = wrap(entra.Transport())
			cred, err := confidential.NewCredFromSecret(secret)
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			tokens, err := New(redis, serializer.Plaintext(), &Options{
				Prefix: redistest.Prefix(t), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer tokens.Close()
			app, err := tokens.NewConfidential(entra.Authority(entratest.DefaultTenant), clientID, cred)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"}); err != nil {
				t.Fatal(err)
			}
			c, err := tokens.NewPublic(publicID, public.WithAuthority(entra.Authority(entratest.DefaultTenant)))
			if err != nil {
				t.Fatal(err)
			}
			device, err := c.AcquireTokenByDeviceCode(ctx, []string{"user.read"})
			if err != nil {
				t.Fatal(err)
			}
			if err := entra.ApproveDevice(device.Result.UserCode, user); err != nil {
				t.Fatal(err)
			}
			if _, err := device.AuthenticationResult(ctx); err != nil {
				t.Fatal(err)
			}
			tokens.Close() // after which nobody writes the log
			if log.Len() > 0 {
				t.Errorf("logged: %s", &log)
			}
		})
	}
}

// Without a default transport there is one all the same: an error of a request is better than a panic.
func TestNoDefaultTransportIsNoPanic(t *testing.T) {
	c, err := New(stage.Answering(t, nil), serializer.Plaintext(), &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	real := http.DefaultTransport
	defer func() { http.DefaultTransport = real }()
	for name, none := range map[string]http.RoundTripper{"nil": nil, "a nil *http.Transport": (*http.Transport)(nil)} {
		http.DefaultTransport = none
		req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.Transport(nil).RoundTrip(req); err == nil {
			resp.Body.Close()
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}
