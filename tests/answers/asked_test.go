package answers_test

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// The token that a caller gets is the one that it asked for: of the tenant, client, user, scopes, credential and
// parameters of its request. Plain MSAL on the same server is the measure.

const guestTenant = "99999999-aaaa-4bbb-8ccc-00000000000b"

// said are the claims of a token.
func said(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// A user's token of one tenant is never that of another, whose refresh token MSAL sends to both.
func TestTokensOfAGuestAreOfTheTenantAskedFor(t *testing.T) {
	t.Parallel()
	type acquire func(tenantID string) (string, error)
	ctx := context.Background()
	obo := func(app confidential.Client, assertion string) acquire {
		return func(tenantID string) (string, error) {
			r, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope},
				confidential.WithTenantID(tenantID))
			return r.AccessToken, err
		}
	}
	user := func(i *harness.Instance, app confidential.Client, u entratest.User) acquire {
		return func(tenantID string) (string, error) {
			account, err := app.Account(ctx, u.HomeAccountID())
			if err != nil {
				return "", err
			}
			r, err := app.AcquireTokenSilent(ctx, []string{harness.UserScope}, confidential.WithSilentAccount(account),
				confidential.WithTenantID(tenantID))
			return r.AccessToken, err
		}
	}
	// Each makes callers on two instances, which are asked in turn.
	for name, callers := range map[string]func(w *harness.World, u entratest.User) []acquire{
		"on behalf of": func(w *harness.World, u entratest.User) []acquire {
			assertion := w.Assertion(t, u)
			return []acquire{obo(w.Instance().App(), assertion), obo(w.Instance().App(), assertion)}
		},
		"on behalf of, the gate alone": func(w *harness.World, u entratest.User) []acquire {
			assertion := w.Assertion(t, u)
			return []acquire{obo(w.Instance().GateApp(), assertion), obo(w.Instance().GateApp(), assertion)}
		},
		"on behalf of, by azcred": func(w *harness.World, u entratest.User) []acquire {
			assertion := w.Assertion(t, u)
			var all []acquire
			for range 2 {
				i := w.Instance()
				secret, err := confidential.NewCredFromSecret(harness.ClientSecret)
				if err != nil {
					t.Fatal(err)
				}
				base := w.Entra.Transport()
				t.Cleanup(base.CloseIdleConnections)
				cred, err := azcred.New(w.Entra.Authority(harness.Tenant), harness.ClientID, secret, i.Tokens, &azcred.Options{
					Transport: base, AdditionallyAllowedTenants: []string{"*"}})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, func(tenantID string) (string, error) {
					token, err := cred.OnBehalfOf(assertion).GetToken(ctx,
						policy.TokenRequestOptions{Scopes: []string{harness.UserScope}, TenantID: tenantID})
					return token.Token, err
				})
			}
			return all
		},
		"a signed-in user": func(w *harness.World, u entratest.User) []acquire {
			a, b := w.Instance(), w.Instance()
			appA := a.App()
			a.SignIn(appA, u)
			return []acquire{user(a, appA, u), user(b, b.App(), u)}
		},
		"a signed-in user, the gate alone": func(w *harness.World, u entratest.User) []acquire {
			i := w.Instance()
			app := i.GateApp()
			i.SignIn(app, u)
			return []acquire{user(i, app, u)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			w.Lasting(3 * time.Second)
			u := w.AddUsers(1)[0]
			ask := callers(w, u)
			for round := range 2 {
				for n, tenantID := range []string{harness.Tenant, guestTenant, harness.Tenant, guestTenant} {
					token, err := ask[n%len(ask)](tenantID)
					if err != nil {
						t.Fatalf("round %d, %s: %v", round, tenantID, err)
					}
					if tid := said(t, token)["tid"]; tid != tenantID {
						t.Errorf("round %d, call %d: a token of tenant %v, asked for %s", round, n, tid, tenantID)
					}
				}
				if round == 0 {
					w.Expire(3 * time.Second)
					w.Entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 0 })
				}
			}
			// And what is there by now is found by others under its own name.
			if strings.Contains(name, "alone") || !strings.Contains(name, "signed-in") {
				return
			}
			third := w.Instance()
			for _, tenantID := range []string{harness.Tenant, guestTenant} {
				token, err := user(third, third.App(), u)(tenantID)
				if err != nil {
					t.Fatal(err)
				}
				if tid := said(t, token)["tid"]; tid != tenantID {
					t.Errorf("a third instance has a token of tenant %v, asked for %s", tid, tenantID)
				}
			}
		})
	}
}

// What a record has is given to a refresh that asks for no other resource than it names.
func TestRefreshForSignInScopesOnlyGetsWhatItAskedFor(t *testing.T) {
	const vault = "https://vault.azure.net/user_impersonation"
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	i := w.Instance()
	app := i.App()
	i.SignIn(app, u, vault)
	plain := harness.NewApp(t, w.Entra.Authority(harness.Tenant), nil, &http.Client{Transport: w.Entra.Transport()})
	_, err := plain.AcquireTokenByAuthCode(ctx, code(w, t, plain, u, vault), harness.RedirectURI, []string{vault})
	if err != nil {
		t.Fatal(err)
	}
	want, err := harness.Silent(ctx, plain, u.HomeAccountID(), "openid")
	if err != nil {
		t.Fatalf("plain MSAL: %v", err)
	}
	for _, app := range []confidential.Client{app, w.Instance().App()} {
		got, err := harness.Silent(ctx, app, u.HomeAccountID(), "openid")
		if err != nil {
			t.Errorf("with the library: %v", err)
			continue
		}
		if a, b := said(t, got.AccessToken)["aud"], said(t, want.AccessToken)["aud"]; a != b {
			t.Errorf("a token for %v, plain MSAL has one for %v", a, b)
		}
	}
}

// code is an authorization code for a client.
func code(w *harness.World, t *testing.T, app confidential.Client, u entratest.User, scopes ...string) string {
	t.Helper()
	link, err := app.AuthCodeURL(context.Background(), harness.ClientID, harness.RedirectURI, scopes)
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.Entra.AuthorizeCode(link, u.Username)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// What a token request says where the gate does not look, or says differently, brings what it brings without the gate.
func TestRequestsThatDifferGetTheirOwnAnswers(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	i := w.Instance()
	app := i.App()
	i.SignIn(app, u)
	const other = "33333333-aaaa-4bbb-8ccc-000000000003"
	w.Entra.AddApp(entratest.App{ClientID: other, Secret: harness.ClientSecret})

	refreshToken := ""
	post := func(via http.RoundTripper, header http.Header, form url.Values) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, w.Entra.Authority(harness.Tenant)+"/oauth2/v2.0/token",
			strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(req.Header, header)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := via.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		said := map[string]any{}
		if err := json.Unmarshal(body, &said); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if rt, ok := said["refresh_token"].(string); ok {
			refreshToken = rt
		}
		return resp.StatusCode, said
	}
	plain := w.Entra.Transport()
	t.Cleanup(plain.CloseIdleConnections)
	basic := func(user, password string) http.Header {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header
	}
	appForm := func(change ...string) url.Values {
		f := url.Values{"grant_type": {"client_credentials"}, "client_id": {harness.ClientID},
			"client_secret": {harness.ClientSecret}, "scope": {harness.GraphScope}}
		for n := 0; n < len(change); n += 2 {
			if f.Del(change[n]); change[n+1] != "" {
				f.Set(change[n], change[n+1])
			}
		}
		return f
	}
	// Something to be mistaken for: an app's answer, and the user's record.
	if status, body := post(i.HTTP.Transport, nil, appForm()); status != http.StatusOK {
		t.Fatal(status, body["error_description"])
	}
	twice := appForm()
	twice.Add("scope", harness.DynamicsScope)
	for name, c := range map[string]struct {
		header http.Header
		form   url.Values
	}{
		"a wrong secret": {nil, appForm("client_secret", "wrong")},
		"no credential":  {nil, appForm("client_secret", "")},
		"another client": {nil, appForm("client_id", other)},
		"in the header": {basic(harness.ClientID, harness.ClientSecret),
			appForm("client_id", "", "client_secret", "")},
		"in the header, wrong":          {basic(harness.ClientID, "wrong"), appForm("client_id", "", "client_secret", "")},
		"in the header, another client": {basic(other, harness.ClientSecret), appForm("client_id", "", "client_secret", "")},
		"right here, wrong there":       {basic(harness.ClientID, "wrong"), appForm()},
		"scope in other letters":        {nil, appForm("scope", "", "Scope", harness.GraphScope)},
		"scope twice":                   {nil, twice},
		"an unsigned assertion": {nil, appForm("client_secret", "",
			"client_assertion", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIiwic3ViIjoicyIsImF1ZCI6ImEifQ.",
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")},
		"another scope beside the first": {nil, appForm("scope", harness.DynamicsScope)},
	} {
		wantStatus, want := post(plain, c.header, c.form)
		for n := range 2 {
			status, got := post(i.HTTP.Transport, c.header, c.form)
			if status != wantStatus || fmt.Sprint(got["error"]) != fmt.Sprint(want["error"]) {
				t.Errorf("%s, call %d: %d %v, without the gate %d %v", name, n, status, got["error"], wantStatus, want["error"])
				continue
			}
			if status != http.StatusOK {
				continue
			}
			a, b := said(t, got["access_token"].(string)), said(t, want["access_token"].(string))
			for _, claim := range []string{"azp", "aud", "tid"} {
				if a[claim] != b[claim] {
					t.Errorf("%s: a token whose %s is %v, without the gate %v", name, claim, a[claim], b[claim])
				}
			}
		}
	}

	// A user's refresh token, posted by hand.
	code := code(w, t, app, u, harness.UserScope)
	if status, body := post(plain, nil, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {harness.ClientID}, "client_secret": {harness.ClientSecret},
		"code": {code}, "redirect_uri": {harness.RedirectURI},
		"scope": {harness.UserScope + " offline_access openid profile"},
	}); status != http.StatusOK {
		t.Fatal(status, body["error_description"])
	}
	mine := refreshToken
	refresh := func(change ...string) url.Values {
		f := url.Values{"grant_type": {"refresh_token"}, "client_id": {harness.ClientID},
			"client_secret": {harness.ClientSecret}, "refresh_token": {mine},
			"scope": {harness.UserScope + " offline_access openid profile"}, "client_info": {"1"}}
		for n := 0; n < len(change); n += 2 {
			if f.Del(change[n]); change[n+1] != "" {
				f.Set(change[n], change[n+1])
			}
		}
		return f
	}
	if status, body := post(i.HTTP.Transport, nil, refresh()); status != http.StatusOK {
		t.Fatal(status, body["error_description"])
	}
	for name, form := range map[string]url.Values{
		"a wrong secret": refresh("client_secret", "wrong"),
		"no secret":      refresh("client_secret", ""),
		"another client": refresh("client_id", other),
		"openid only":    refresh("scope", "openid offline_access profile"),
		"another scope":  refresh("scope", harness.MailScope+" offline_access openid profile"),
	} {
		wantStatus, want := post(plain, nil, form)
		for n := range 2 {
			status, got := post(i.HTTP.Transport, nil, form)
			if status != wantStatus || fmt.Sprint(got["error"]) != fmt.Sprint(want["error"]) {
				t.Errorf("refresh with %s, call %d: %d %v, without the gate %d %v",
					name, n, status, got["error"], wantStatus, want["error"])
				continue
			}
			if status == http.StatusOK && !sameScopes(got["scope"], want["scope"]) {
				t.Errorf("refresh with %s: a token for %v, without the gate %v", name, got["scope"], want["scope"])
			}
		}
	}
}

func sameScopes(a, b any) bool {
	one, two := strings.Fields(fmt.Sprint(a)), strings.Fields(fmt.Sprint(b))
	slices.Sort(one)
	slices.Sort(two)
	return slices.Equal(one, two)
}

// An answer that is kept by identity brings nobody the refresh token that it came with: it may have been redeemed
// since.
func TestAnswerOfSignInScopesBringsNoSpentRefreshToken(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	one, two := a.App(), b.App()
	a.SignIn(one, u)
	for _, c := range []struct {
		app   confidential.Client
		scope string
	}{{one, "openid"}, {one, harness.VaultScope}, {two, "openid"}, {two, harness.CrmScope}, {one, harness.MailScope}} {
		if _, err := harness.Silent(ctx, c.app, u.HomeAccountID(), c.scope); err != nil {
			t.Errorf("%s: %v", c.scope, err)
		}
	}
	w.NoRefusals(t)
}

// Claims of the client's own that look like capabilities say nothing of the client's.
func TestClaimsOfTheClientsOwnAreNoCapabilities(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	capable := w.Instance().App(confidential.WithClientCapabilities([]string{"CP1"}))
	theirs := harness.Must(t)(capable.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	plain := w.Instance().App()
	harness.Must(t)(plain.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
		confidential.WithClaimsFromClient(`{"access_token":{"xms_cc":{"values":["CP1"]}}}`)))
	for range 2 {
		if harness.Must(t)(plain.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == theirs {
			t.Error("a client without capabilities got the token of one with them")
		}
	}
}

// What a client assertion lacks, or says differently, brings what it brings without the gate, whatever others got.
func TestAssertionsThatTheEndpointRefusesGetNoAnswerOfOthers(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	base := w.Entra.Transport()
	t.Cleanup(base.CloseIdleConnections)
	plain := &http.Client{Transport: base}
	cert, key := harness.SelfSigned(t)
	other, otherKey := harness.SelfSigned(t)
	w.Entra.AddApp(entratest.App{ClientID: harness.ClientID, Certificate: cert})
	ask := func(client *http.Client, of *x509.Certificate, by *rsa.PrivateKey, named, less string) error {
		sum := sha256.Sum256(of.Raw)
		claims := jwt.MapClaims{"iss": harness.ClientID, "sub": harness.ClientID,
			"aud": w.Entra.Authority(harness.Tenant) + "/oauth2/v2.0/token",
			"exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Unix()}
		delete(claims, less)
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["x5c"] = []string{base64.StdEncoding.EncodeToString(of.Raw)}
		if named != "x5c" {
			token.Header = map[string]any{"alg": "RS256", named: base64.StdEncoding.EncodeToString(sum[:])}
		}
		text, err := token.SignedString(by)
		harness.Succeeds(t, err)
		cred := confidential.NewCredFromAssertionCallback(
			func(context.Context, confidential.AssertionRequestOptions) (string, error) { return text, nil })
		app, err := confidential.New(w.Entra.Authority(harness.Tenant), harness.ClientID, cred,
			confidential.WithHTTPClient(client))
		harness.Succeeds(t, err)
		_, err = app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		return err
	}
	for _, named := range []string{"x5c", "x5t#S256"} {
		i := w.Instance()
		harness.Succeeds(t, ask(i.HTTP, cert, key, named, ""))
		for _, less := range []string{"", "exp", "nbf", "iss", "sub", "aud"} {
			got, want := ask(i.HTTP, cert, key, named, less), ask(plain, cert, key, named, less)
			if (got == nil) != (want == nil) {
				t.Errorf("%s, without %q: %v, without the gate %v", named, less, got, want)
			}
		}
		got, want := ask(i.HTTP, other, otherKey, named, ""), ask(plain, other, otherKey, named, "")
		if (got == nil) != (want == nil) {
			t.Errorf("%s, another certificate: %v, without the gate %v", named, got, want)
		}
	}
}
