package tokensource_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"golang.org/x/oauth2"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tokensource"
)

const (
	clientID    = "11111111-aaaa-4bbb-8ccc-000000000001"
	secret      = "the-client's-secret"
	publicID    = "22222222-aaaa-4bbb-8ccc-000000000002"
	tenant      = entratest.DefaultTenant
	redirectURI = "http://localhost:5000/signin"
)

var scopes = []string{"https://api.businesscentral.dynamics.com/.default"}

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
	w.entra.AddApp(entratest.App{ClientID: publicID, Public: true})
	w.entra.AddUser(entratest.User{Username: "ada@contoso.com", TenantID: tenant})
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	if w.sealer, err = serializer.NewEncrypted(key); err != nil {
		t.Fatal(err)
	}
	return w
}

// process is one process's Cache, and an HTTP client with its gate.
func (w *world) process() (*msalredis.Cache, *http.Client) {
	w.t.Helper()
	c, err := msalredis.New(w.redis.Client(), w.sealer, &msalredis.Options{Prefix: w.prefix, OpTimeout: 10 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	base := w.entra.Transport()
	w.t.Cleanup(base.CloseIdleConnections)
	return c, &http.Client{Transport: c.Transport(base)}
}

// app is the MSAL client of a process of its own.
func (w *world) app() (confidential.Client, *msalredis.Cache) {
	w.t.Helper()
	c, gate := w.process()
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		w.t.Fatal(err)
	}
	app, err := confidential.New(w.entra.Authority(tenant), clientID, cred, confidential.WithCache(c),
		confidential.WithHTTPClient(gate))
	if err != nil {
		w.t.Fatal(err)
	}
	return app, c
}

func (w *world) count(want int, what string) {
	w.t.Helper()
	if n := w.entra.Count(); n != want {
		w.t.Errorf("%s: %d token requests, want %d", what, n, want)
	}
}

func token(t *testing.T, s oauth2.TokenSource) *oauth2.Token {
	t.Helper()
	tk, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestForAppOneRequestInAllProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 4 {
		app, _ := w.app()
		s := tokensource.ForApp(t.Context(), app, scopes)
		for range 16 {
			wg.Go(func() {
				if _, err := s.Token(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	w.count(1, "64 callers in 4 processes")
}

// What a Token says: valid now, to be asked for when due, ending when the token ends.
func TestTokenSaysWhenItIsDueAndWhenItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, _ := w.app()
	s := tokensource.ForApp(t.Context(), app, scopes)
	for range 2 { // from Entra ID, from memory
		tk := token(t, s)
		if !tk.Valid() || tk.Type() != "Bearer" {
			t.Errorf("valid: %v, type %q", tk.Valid(), tk.Type())
		}
		if due := time.Until(tk.Expiry); due < 20*time.Minute || due > 40*time.Minute {
			t.Errorf("due in %v, want about half an hour", due)
		}
		end, _ := tk.Extra("expires_at").(time.Time)
		if left := time.Until(end); left < 50*time.Minute || left > time.Hour {
			t.Errorf("ends in %v, want about an hour", left)
		}
		if scope, _ := tk.Extra("scope").(string); !strings.Contains(scope, "businesscentral") {
			t.Errorf("scope %q", scope)
		}
	}
}

func TestForAccountInAnotherProcessUntilItSignsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app, _ := w.app()
	address, err := app.AuthCodeURL(ctx, clientID, redirectURI, scopes)
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.entra.AuthorizeCode(address, "ada@contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	signedIn, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, scopes)
	if err != nil {
		t.Fatal(err)
	}
	other, tokens := w.app()
	account, err := other.Account(ctx, signedIn.Account.HomeAccountID)
	if err != nil {
		t.Fatal(err)
	}
	s := tokensource.ForAccount(ctx, other, account, scopes)
	if token(t, s).AccessToken != signedIn.AccessToken {
		t.Error("another process has another token")
	}
	w.count(1, "one sign-in")
	if err := tokens.RemoveAccount(ctx, account.HomeAccountID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(); err == nil {
		t.Error("a token after the sign-out")
	}
}

func TestOnBehalfOfOneRequestPerAssertion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, err := w.entra.UserToken(clientID, "ada@contoso.com", "")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 3 {
		app, _ := w.app()
		seen[token(t, tokensource.OnBehalfOf(t.Context(), app, ada, scopes)).AccessToken] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d tokens for one assertion", len(seen))
	}
	w.count(1, "one assertion in 3 processes")
}

func TestFuncServesPublicClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, gate := w.process()
	app, err := public.New(publicID, public.WithAuthority(w.entra.Authority(tenant)), public.WithCache(c),
		public.WithHTTPClient(gate))
	if err != nil {
		t.Fatal(err)
	}
	address, err := app.AuthCodeURL(t.Context(), publicID, redirectURI, scopes)
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.entra.AuthorizeCode(address, "ada@contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	signedIn, err := app.AcquireTokenByAuthCode(t.Context(), code, redirectURI, scopes)
	if err != nil {
		t.Fatal(err)
	}
	s := tokensource.Func(t.Context(), func(ctx context.Context) (confidential.AuthResult, error) {
		return app.AcquireTokenSilent(ctx, scopes, public.WithSilentAccount(signedIn.Account))
	})
	if token(t, s).AccessToken != signedIn.AccessToken {
		t.Error("another token than the one of the sign-in")
	}
	w.count(1, "one sign-in")
}

// Expiry is when to ask again: when the token is due, not at once where its refresh failed, never after its end.
func TestExpiryIsWhenToAskAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		due, end, want time.Duration // from now; due 0: not said
	}{
		{"no refresh_on", 0, time.Hour, time.Hour},
		{"due later", 20 * time.Minute, time.Hour, 20 * time.Minute},
		{"due, and its refresh failed", -time.Minute, time.Hour, 30 * time.Second},
		{"due after its end", 2 * time.Hour, time.Hour, time.Hour},
		{"near its end", -time.Minute, 20 * time.Second, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := confidential.AuthResult{AccessToken: "abc", ExpiresOn: time.Now().Add(test.end)}
			if test.due != 0 {
				r.Metadata.RefreshOn = time.Now().Add(test.due)
			}
			tk := token(t, tokensource.Func(t.Context(), func(context.Context) (confidential.AuthResult, error) {
				return r, nil
			}))
			if again := time.Until(tk.Expiry); again != test.want || !tk.Valid() {
				t.Errorf("%s: asked for again in %v, valid %v; want %v, true", test.name, again, tk.Valid(), test.want)
			}
		})
	}
}

// Who keeps a token until its Expiry, as oauth2.NewClient does, asks again when it is due.
func TestReuseTokenSourceAsksAgainWhenDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := oauth2.ReuseTokenSource(nil,
			tokensource.Func(t.Context(), func(context.Context) (confidential.AuthResult, error) {
				calls++
				r := confidential.AuthResult{AccessToken: "abc", ExpiresOn: time.Now().Add(time.Hour)}
				r.Metadata.RefreshOn = time.Now().Add(20 * time.Minute)
				return r, nil
			}))
		for _, step := range []struct {
			passes time.Duration
			calls  int
		}{{0, 1}, {19 * time.Minute, 1}, {time.Minute, 2}, {19 * time.Minute, 2}, {time.Minute, 3}} {
			time.Sleep(step.passes)
			token(t, s)
			if calls != step.calls {
				t.Fatalf("after another %v: asked %d times, want %d", step.passes, calls, step.calls)
			}
		}
	})
}

// With a Transport as the package's documentation has it, the API gets the token.
func TestTransportAttachesTheToken(t *testing.T) {
	t.Parallel()
	var got string
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
	}))
	defer api.Close()
	s := tokensource.Func(t.Context(), func(context.Context) (confidential.AuthResult, error) {
		return confidential.AuthResult{AccessToken: "abc", ExpiresOn: time.Now().Add(time.Hour)}, nil
	})
	client := &http.Client{Transport: &oauth2.Transport{Base: api.Client().Transport, Source: s}}
	resp, err := client.Get(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got != "Bearer abc" {
		t.Errorf("Authorization %q", got)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, _ := w.app()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tokensource.ForApp(ctx, app, scopes).Token(); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	w.entra.AddFault(entratest.Fault{Status: 400, Body: entratest.ErrorBody("invalid_scope", 70011, "no such scope")})
	_, err := tokensource.ForApp(t.Context(), app, scopes).Token()
	if err == nil || !strings.HasPrefix(err.Error(), "tokensource: ") || !strings.Contains(err.Error(), "AADSTS70011") ||
		strings.Contains(err.Error(), secret) {
		t.Errorf("a refusal: %v", err)
	}
}
