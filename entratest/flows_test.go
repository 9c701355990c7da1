package entratest_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func decode64(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClientSecret(t *testing.T) {
	s := start(t, nil)
	c := secretClient(t, s, webApp, secret)
	first, err := c.AcquireTokenByCredential(t.Context(), []string{crm})
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, first.AccessToken)
	if claims["aud"] != "https://org.crm4.dynamics.com" || claims["azp"] != webApp || claims["azpacr"] != "1" ||
		claims["idtyp"] != "app" {
		t.Errorf("claims: %v", claims)
	}
	second, err := c.AcquireTokenByCredential(t.Context(), []string{crm})
	if err != nil {
		t.Fatal(err)
	}
	if second.AccessToken != first.AccessToken || second.Metadata.TokenSource != confidential.TokenSourceCache {
		t.Error("MSAL did not find the token in its cache")
	}
	if n := s.Count(entratest.ByGrant("client_credentials"), entratest.ByScope(crm), entratest.ByClient(webApp),
		entratest.ByTenant(tenant)); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
	// What MSAL does by itself before its first token: instance discovery (for aliases) and the tenant's configuration.
	other := s.OtherRequests()
	if other["instance"] != 1 || other["openid-configuration"] != 1 || other["other"] != 0 {
		t.Errorf("other requests: %v", other)
	}
}

// The answer to client_credentials has four fields and no more.
func TestAppAnswerFields(t *testing.T) {
	s := start(t, nil)
	a := post(t, s, tenant, with(appForm(), "client_info", "1", "scope", graph+" openid offline_access profile"))
	for _, want := range []string{"token_type", "expires_in", "ext_expires_in", "access_token"} {
		if _, ok := a.fields[want]; !ok {
			t.Errorf("%s is missing", want)
		}
	}
	if len(a.fields) != 4 || a.TokenType != "Bearer" {
		t.Errorf("fields: %v", a.fields)
	}
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("Cache-Control: %q", got)
	}
}

func TestCertificate(t *testing.T) {
	s := start(t, nil)
	cred, err := confidential.NewCredFromCert([]*certificate{cert}, certKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string][]confidential.Option{"thumbprint": nil, "x5c": {confidential.WithX5C()}} {
		t.Run(name, func(t *testing.T) {
			c := confidentialClient(t, s, api, cred, opts...)
			got, err := c.AcquireTokenByCredential(t.Context(), []string{graph})
			if err != nil {
				t.Fatal(err)
			}
			if acr := claimsOf(t, got.AccessToken)["azpacr"]; acr != "2" {
				t.Errorf("azpacr %v, want 2", acr)
			}
		})
	}
}

// authCodeClient signs ada in at the web app.
func authCode(t *testing.T, s *entratest.Server, c confidential.Client, scopes []string) confidential.AuthResult {
	t.Helper()
	verifier := "verifier-verifier-verifier-verifier-verifier-43"
	sum := sha256.Sum256([]byte(verifier))
	link, err := c.AuthCodeURL(t.Context(), webApp, reply, scopes)
	if err != nil {
		t.Fatal(err)
	}
	link += "&code_challenge_method=S256&code_challenge=" + base64.RawURLEncoding.EncodeToString(sum[:])
	code, err := s.AuthorizeCode(link, ada.Username)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.AcquireTokenByAuthCode(t.Context(), code, reply, scopes, confidential.WithChallenge(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAuthCodeAndSilent(t *testing.T) {
	s := start(t, nil)
	c := secretClient(t, s, webApp, secret)
	got := authCode(t, s, c, []string{"User.Read"})
	if got.Account.HomeAccountID != ada.HomeAccountID() || got.Account.PreferredUsername != ada.Username {
		t.Errorf("account %+v", got.Account)
	}
	// ada is a guest in contoso: another oid, and the tid of the tenant asked.
	if got.IDToken.Oid == ada.ObjectID || got.IDToken.TenantID == ada.TenantID || got.IDToken.Audience != webApp {
		t.Errorf("id token %+v", got.IDToken)
	}
	if claims := claimsOf(t, got.AccessToken); claims["scp"] != "email openid profile User.Read" {
		t.Errorf("scp %v", claims["scp"])
	}
	silent := func(scope string) confidential.AuthResult {
		t.Helper()
		r, err := c.AcquireTokenSilent(t.Context(), []string{scope}, confidential.WithSilentAccount(got.Account))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if silent("User.Read").AccessToken != got.AccessToken {
		t.Error("silent did not serve from the cache")
	}
	// Another resource needs a refresh; so does the next after it, with the refresh token that one brought.
	silent("https://org.crm4.dynamics.com/user_impersonation")
	silent("https://contoso.sharepoint.com/AllSites.Read")
	refreshes := filter(s.Requests(), entratest.ByGrant("refresh_token"))
	if len(refreshes) != 2 || refreshes[0].RefreshTokenGeneration != 1 || refreshes[1].RefreshTokenGeneration != 2 {
		t.Fatalf("refreshes: %+v", refreshes)
	}
	// A session is one sign-in's.
	sid := claimsOf(t, got.AccessToken)["sid"]
	if sid != claimsOf(t, silent("https://contoso.sharepoint.com/AllSites.Read").AccessToken)["sid"] ||
		sid != refreshes[1].Session {
		t.Errorf("session %v, then another: %v", sid, refreshes[1].Session)
	}
	if other := authCode(t, s, secretClient(t, s, webApp, secret), []string{"User.Read"}); sid == "" ||
		sid == claimsOf(t, other.AccessToken)["sid"] {
		t.Errorf("session %v, and the next sign-in's is the same", sid)
	}
	if n := s.Count(entratest.ByUser(ada.HomeAccountID())); n != 4 {
		t.Errorf("%d requests of ada, want 4", n)
	}
}

func filter(requests []entratest.Request, match func(entratest.Request) bool) []entratest.Request {
	var out []entratest.Request
	for _, r := range requests {
		if match(r) {
			out = append(out, r)
		}
	}
	return out
}

func TestRefreshTokensWithoutRotation(t *testing.T) {
	s := start(t, nil)
	first := signIn(t, s, "User.Read openid offline_access")
	for range 3 {
		a := post(t, s, tenant, refreshForm(first.RefreshToken))
		if a.status != http.StatusOK || a.RefreshToken == "" || a.RefreshToken == first.RefreshToken {
			t.Fatalf("refresh: %s", a.raw)
		}
	}
}

func TestRefreshTokensWithRotation(t *testing.T) {
	s := start(t, &entratest.Config{RotateRefreshTokens: true})
	first := signIn(t, s, "User.Read openid offline_access")
	second := post(t, s, tenant, refreshForm(first.RefreshToken))
	if second.status != http.StatusOK {
		t.Fatal(second.raw)
	}
	if again := post(t, s, tenant, refreshForm(first.RefreshToken)); again.Error != "invalid_grant" {
		t.Errorf("second redemption: %d %s", again.status, again.raw)
	}
	if next := post(t, s, tenant, refreshForm(second.RefreshToken)); next.status != http.StatusOK {
		t.Errorf("the successor: %s", next.raw)
	}
	s.SetBehavior(func(b *entratest.Behavior) { b.RotateRefreshTokens = false })
	if again := post(t, s, tenant, refreshForm(first.RefreshToken)); again.status != http.StatusOK {
		t.Errorf("without rotation: %s", again.raw)
	}
}

// Of many redemptions at once exactly one wins.
func TestRotationIsAtomic(t *testing.T) {
	s := start(t, &entratest.Config{RotateRefreshTokens: true})
	first := signIn(t, s, "User.Read offline_access")
	release := barrier(t, s, 16)
	defer release()
	results := make(chan int, 16)
	for range 16 {
		go func() {
			a, err := tryPost(t.Context(), s, tenant, refreshForm(first.RefreshToken))
			if err != nil {
				t.Error(err)
			}
			results <- a.status
		}()
	}
	won := 0
	for range 16 {
		if <-results == http.StatusOK {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d redemptions succeeded, want 1", won)
	}
}

func TestOnBehalfOf(t *testing.T) {
	s := start(t, nil)
	assertion, err := s.UserToken(api, ada.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := confidential.NewCredFromCert([]*certificate{cert}, certKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]confidential.Client{
		"secret":      secretClient(t, s, api, secret),
		"certificate": confidentialClient(t, s, api, cred),
	} {
		t.Run(name, func(t *testing.T) {
			s.ResetRequests()
			first, err := c.AcquireTokenOnBehalfOf(t.Context(), assertion, []string{crm})
			if err != nil {
				t.Fatal(err)
			}
			second, err := c.AcquireTokenOnBehalfOf(t.Context(), assertion, []string{crm})
			if err != nil {
				t.Fatal(err)
			}
			if first.AccessToken != second.AccessToken {
				t.Error("MSAL did not find the token in its memory")
			}
			r := s.Requests()
			if len(r) != 1 || r[0].Grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" || r[0].User != ada.HomeAccountID() {
				t.Errorf("requests: %+v", r)
			}
		})
	}
	// The token of a real sign-in for the API serves as well as UserToken's.
	a := signIn(t, s, "api://"+api+"/access_as_user")
	if _, err := secretClient(t, s, api, secret).AcquireTokenOnBehalfOf(t.Context(), a.AccessToken,
		[]string{"User.Read"}); err != nil {
		t.Error(err)
	}
}

func TestDeviceCode(t *testing.T) {
	s := start(t, nil)
	c := publicClient(t, s)
	flow, err := c.AcquireTokenByDeviceCode(t.Context(), []string{"User.Read"})
	if err != nil {
		t.Fatal(err)
	}
	// The first poll is held until the user has been seen pending, then approves.
	polled := make(chan struct{}, 1)
	pending := make(chan struct{})
	remove := s.OnTokenRequest(func(r entratest.Request) {
		if r.ID == 2 {
			select {
			case polled <- struct{}{}:
			default:
			}
			<-pending
		}
	})
	defer remove()
	go func() {
		<-polled
		if err := s.ApproveDevice(flow.Result.UserCode, ada.Username); err != nil {
			t.Error(err)
		}
		close(pending)
	}()
	got, err := flow.AuthenticationResult(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Account.HomeAccountID != ada.HomeAccountID() {
		t.Errorf("account %+v", got.Account)
	}
	r := s.Requests()
	if len(r) != 2 || r[0].Error != "AADSTS70016" || r[1].Status != http.StatusOK {
		t.Errorf("polls: %+v", r)
	}
	if _, err := c.AcquireTokenSilent(t.Context(), []string{"User.Read"},
		public.WithSilentAccount(got.Account)); err != nil {
		t.Error(err)
	}
	if err := s.ApproveDevice(flow.Result.UserCode, ada.Username); err == nil {
		t.Error("approved twice")
	}
}

// The agent's chain, as in production: the blueprint gets a client assertion for the agent, with it the agent its own
// exchange token, and with both a user's token.
func TestUserFIC(t *testing.T) {
	s := start(t, nil)
	const agent = "44444444-4444-4444-8444-444444444444"
	s.AddApp(entratest.App{ClientID: agent})
	blueprint := secretClient(t, s, webApp, secret)
	exchange := []string{"api://AzureADTokenExchange/.default"}
	cred := confidential.NewCredFromAssertionCallback(
		func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
			r, err := blueprint.AcquireTokenByCredential(ctx, exchange, confidential.WithFMIPath(agent))
			return r.AccessToken, err
		})
	c := confidentialClient(t, s, agent, cred)
	own, err := c.AcquireTokenByCredential(t.Context(), exchange)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.AcquireTokenByUserFederatedIdentityCredential(t.Context(), []string{graph}, own.AccessToken,
		confidential.WithUserFICUsername(ada.Username))
	if err != nil {
		t.Fatal(err)
	}
	if got.Account.HomeAccountID != ada.HomeAccountID() {
		t.Errorf("account %+v", got.Account)
	}
	if _, err := c.AcquireTokenSilent(t.Context(), []string{graph},
		confidential.WithSilentAccount(got.Account)); err != nil {
		t.Errorf("silent: %v", err)
	}
	byID, err := c.AcquireTokenByUserFederatedIdentityCredential(t.Context(), []string{graph}, own.AccessToken,
		confidential.WithUserObjectID(ada.ObjectID))
	if err != nil || byID.Account.HomeAccountID != ada.HomeAccountID() {
		t.Errorf("by object id: %+v, %v", byID.Account, err)
	}
	if n := s.Count(entratest.ByGrant("user_fic"), entratest.ByUser(ada.HomeAccountID())); n != 2 {
		t.Errorf("%d user_fic requests, want 2", n)
	}
}

// FederatedCredential is the short way to the same.
func TestFederatedCredential(t *testing.T) {
	s := start(t, nil)
	token, err := s.FederatedCredential(api)
	if err != nil {
		t.Fatal(err)
	}
	cred := confidential.NewCredFromAssertionCallback(
		func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			return token, nil
		})
	c := confidentialClient(t, s, api, cred)
	if _, err := c.AcquireTokenByCredential(t.Context(), []string{graph}); err != nil {
		t.Error(err)
	}
	if _, err := c.AcquireTokenByUserFederatedIdentityCredential(t.Context(), []string{graph}, token,
		confidential.WithUserObjectID(ada.ObjectID)); err != nil {
		t.Error(err)
	}
	if _, err := confidentialClient(t, s, webApp, cred).AcquireTokenByCredential(t.Context(),
		[]string{graph}); !strings.Contains(text(err), "AADSTS700213") {
		t.Errorf("another app's credential: %v", err)
	}
	if _, err := s.FederatedCredential("nobody"); err == nil {
		t.Error("a credential for an unknown app")
	}
}

func TestPassword(t *testing.T) {
	s := start(t, nil)
	c := publicClient(t, s)
	//lint:ignore SA1019 MSAL still sends this grant, so the emulator answers it
	got, err := c.AcquireTokenByUsernamePassword(t.Context(), []string{"User.Read"}, ada.Username, ada.Password)
	if err != nil {
		t.Fatal(err)
	}
	if got.Account.HomeAccountID != ada.HomeAccountID() || s.OtherRequests()["userrealm"] != 1 {
		t.Errorf("account %+v, other requests %v", got.Account, s.OtherRequests())
	}
	//lint:ignore SA1019 MSAL still sends this grant, so the emulator answers it
	_, err = c.AcquireTokenByUsernamePassword(t.Context(), []string{"User.Read"}, ada.Username, "wrong")
	if !strings.Contains(text(err), "AADSTS50126") {
		t.Errorf("wrong password: %v", err)
	}
}

// Interactive sign-in opens a browser; this one follows login_hint, and submits the form that response_mode=form_post
// brings.
func TestInteractive(t *testing.T) {
	s := start(t, nil)
	c := publicClient(t, s)
	field := regexp.MustCompile(`name="(\w+)" value="([^"]*)"`)
	action := regexp.MustCompile(`action="([^"]*)"`)
	browser := func(link string) error {
		resp, err := s.HTTPClient().Get(link)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		back := url.Values{}
		for _, m := range field.FindAllStringSubmatch(string(page), -1) {
			back.Set(m[1], m[2])
		}
		done, err := s.HTTPClient().PostForm(action.FindStringSubmatch(string(page))[1], back)
		if err == nil {
			err = done.Body.Close()
		}
		return err
	}
	got, err := c.AcquireTokenInteractive(t.Context(), []string{"User.Read"}, public.WithLoginHint(ada.Username),
		public.WithOpenURL(browser))
	if err != nil {
		t.Fatal(err)
	}
	if got.Account.HomeAccountID != ada.HomeAccountID() {
		t.Errorf("account %+v", got.Account)
	}
}

// A web app's sign-in by redirect: account picker, then the code in the query.
func TestAuthorizeRedirect(t *testing.T) {
	s := start(t, nil)
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Transport: s.Transport(), Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	get := func(link string) (*http.Response, string) {
		t.Helper()
		resp, err := browser.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(page)
	}
	link := s.LocalAuthority(tenant) + "/oauth2/v2.0/authorize?" + form("client_id", webApp, "redirect_uri", reply,
		"response_type", "code", "scope", "User.Read", "state", "st4te").Encode()
	if _, page := get(link); !strings.Contains(page, ada.Username) || !strings.Contains(page, bob.Username) {
		t.Errorf("picker: %s", page)
	}
	resp, _ := get(link + "&login_hint=" + ada.Username)
	back, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || back.Query().Get("state") != "st4te" || back.Query().Get("code") == "" ||
		!strings.HasPrefix(back.String(), reply) {
		t.Fatalf("redirect to %v", back)
	}
	a := post(t, s, tenant, form("grant_type", "authorization_code", "client_id", webApp, "client_secret", secret,
		"redirect_uri", reply, "code", back.Query().Get("code"), "scope", "User.Read"))
	if a.status != http.StatusOK {
		t.Error(a.raw)
	}
	// An error goes to the redirect URI, unless that is what is wrong.
	resp, _ = get(link + "&login_hint=nobody")
	if back, _ := url.Parse(resp.Header.Get("Location")); back.Query().Get("error") != "invalid_grant" ||
		back.Query().Get("state") != "st4te" {
		t.Errorf("redirect to %v", back)
	}
	if resp, _ := get(strings.Replace(link, "app.example", "evil.example", 1)); resp.StatusCode != http.StatusBadRequest ||
		resp.Header.Get("Location") != "" {
		t.Errorf("foreign redirect URI: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}

func TestAzureIdentity(t *testing.T) {
	s := start(t, nil)
	options := azcore.ClientOptions{Transport: s.HTTPClient()}
	tid := "99999999-0000-4000-8000-000000000001"
	assertion, err := s.UserToken(api, ada.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	bySecret, err := azidentity.NewClientSecretCredential(tid, webApp, secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	byCert, err := azidentity.NewClientCertificateCredential(tid, api, []*certificate{cert}, certKey,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	obo, err := azidentity.NewOnBehalfOfCredentialWithSecret(tid, api, assertion, secret,
		&azidentity.OnBehalfOfCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	workload, err := azidentity.NewClientAssertionCredential(tid, webApp, func(context.Context) (string, error) {
		return s.FederatedCredential(webApp)
	},
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	device, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions: options, TenantID: tid, ClientID: desktop,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			return s.ApproveDevice(m.UserCode, ada.Username)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, cred := range map[string]azcore.TokenCredential{
		"secret": bySecret, "certificate": byCert, "on-behalf-of": obo, "assertion": workload, "device code": device,
	} {
		t.Run(name, func(t *testing.T) {
			s.ResetRequests()
			for range 2 {
				token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{graph}})
				if err != nil {
					t.Fatal(err)
				}
				if claims := claimsOf(t, token.Token); claims["tid"] != tid || claims["aud"] != "https://graph.microsoft.com" {
					t.Errorf("claims %v", claims)
				}
			}
			if n := s.Count(); n != 1 {
				t.Errorf("%d token requests, want 1", n)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
