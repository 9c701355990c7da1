package answers_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

type withHeader struct{ http.RoundTripper }

func (h withHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("X-Of-The-Application", "1")
	return h.RoundTripper.RoundTrip(req)
}

// A refresh ahead that fails is nobody's error where MSAL alone, which is run beside it, has a token: a public client
// gets the error of a refresh that the token's refresh_in asks for, so that is added only where the gate can answer
// with the old token.
func TestFailedRefreshAheadIsNoErrorWherePlainMSALHasAToken(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const plain, both = "plain MSAL", "accessor and gate"
	type way struct {
		name           string
		scope          string
		header, public bool
		refreshed      bool // the token is that of a refresh, for another resource
		entra          bool // Entra ID itself sends refresh_in
		with           string
	}
	var ways []way
	for _, w := range []way{
		{name: "a resource", scope: harness.UserScope},
		{name: "sign-in scopes only", scope: "openid"},
		{name: "an unknown header", scope: harness.UserScope, header: true},
		{name: "a resource, refreshed", scope: harness.UserScope, refreshed: true},
		{name: "an unknown header, refreshed", scope: harness.UserScope, header: true, refreshed: true},
	} {
		for _, w.with = range []string{plain, both} {
			for _, w.public = range []bool{true, false} {
				for _, w.entra = range []bool{true, false} {
					ways = append(ways, w)
				}
			}
		}
	}
	w := harness.NewWorld(t)
	i := w.Instance(func(o *msalredis.Options) { o.RefreshAt = 0.0004 })
	users := w.AddUsers(len(ways))
	base := w.Entra.Transport()
	t.Cleanup(base.CloseIdleConnections)
	sends := func(refreshIn bool) {
		w.Entra.SetBehavior(func(b *entratest.Behavior) {
			b.RefreshIn = 0
			if refreshIn {
				b.RefreshIn = time.Second
			}
		})
	}
	silents := make([]func() (string, error), len(ways))
	had := make([]string, len(ways))
	for n, way := range ways {
		u := users[n]
		var transport http.RoundTripper = base
		var accessor cache.ExportReplace
		if way.with != plain {
			transport = i.HTTP.Transport
		}
		if way.with == both {
			accessor = i.Tokens
		}
		if way.header {
			transport = withHeader{transport}
		}
		client := &http.Client{Transport: transport}
		sends(way.entra)
		scopes := []string{way.scope}
		if !way.public {
			app := harness.NewApp(t, w.Entra.Authority(harness.Tenant), accessor, client)
			had[n] = i.SignIn(app, u, scopes...).AccessToken
			if way.refreshed {
				scopes = []string{harness.CrmScope}
			}
			silents[n] = func() (string, error) {
				r, err := harness.Silent(ctx, app, u.HomeAccountID(), scopes...)
				return r.AccessToken, err
			}
			continue
		}
		app, err := public.New(harness.PublicID, public.WithAuthority(w.Entra.Authority(harness.Tenant)),
			public.WithCache(accessor), public.WithHTTPClient(client))
		harness.Succeeds(t, err)
		link, err := app.AuthCodeURL(ctx, harness.PublicID, harness.RedirectURI, scopes)
		harness.Succeeds(t, err)
		code, err := w.Entra.AuthorizeCode(link, u.Username)
		harness.Succeeds(t, err)
		r, err := app.AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, scopes)
		harness.Succeeds(t, err)
		had[n] = r.AccessToken
		if way.refreshed {
			scopes = []string{harness.CrmScope}
		}
		silents[n] = func() (string, error) {
			r, err := app.AcquireTokenSilent(ctx, scopes, public.WithSilentAccount(r.Account))
			return r.AccessToken, err
		}
	}
	for n, way := range ways {
		if way.refreshed {
			sends(way.entra)
			var err error
			had[n], err = silents[n]()
			harness.Succeeds(t, err)
		}
	}
	harness.WaitUntil(time.Now().Add(2500 * time.Millisecond)) // MSAL reads the wall clock
	w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
	anchor := map[way]bool{}
	for n, way := range ways {
		got, err := silents[n]()
		has := err == nil && got == had[n]
		of := way
		of.with = plain
		if way.with == plain {
			anchor[of] = has
			if has == (way.public && way.entra) {
				t.Errorf("%+v: the old token %v, %v", way, has, err)
			}
		} else if anchor[of] && !has {
			t.Errorf("%+v: MSAL alone has the old token, and this %v", way, err)
		}
	}
}
