package entratest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// Conditional access refuses with suberror and claims what no sign-in stands behind, and grants what descends from one.
func TestConditionalAccess(t *testing.T) {
	s := start(t, nil)
	c := secretClient(t, s, webApp, secret)
	plain := authCode(t, s, c, []string{"https://contoso.sharepoint.com/AllSites.Read"})
	refresh := func(r confidential.AuthResult, scope string, opts ...confidential.AcquireSilentOption) error {
		_, err := c.AcquireTokenSilent(t.Context(), []string{scope},
			append(opts, confidential.WithSilentAccount(r.Account))...)
		return err
	}
	const guarded = "https://org.crm4.dynamics.com"
	s.SetBehavior(func(b *entratest.Behavior) { b.ConditionalAccess = []string{guarded + "/"} })
	challenge := `"suberror":"basic_action",` +
		`"claims":"{\"access_token\":{\"capolids\":{\"essential\":true,\"values\":[\"<guid>\"]}}}"}`
	head := func(code string) string {
		return `{"error":"` + code + `","error_description":"AADSTS50076: Due to a configuration change made by your ` +
			`administrator, or because you moved to a new location, ` +
			`you must use multi-factor authentication to access 'https://org.crm4.dynamics.com'. …","error_codes":[50076],` +
			`"timestamp":"…","trace_id":"…","correlation_id":"…",` +
			`"error_uri":"https://login.microsoftonline.com/error?code=50076",`
	}
	if err := refresh(plain, guarded+"/user_impersonation"); !strings.Contains(text(err), "AADSTS50076") {
		t.Errorf("a refresh for the guarded resource: %v", err)
	}
	if err := refresh(plain, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Errorf("a refresh for another resource: %v", err)
	}
	assertion, err := s.UserToken(api, ada.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	obo := form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", api, "client_secret", secret,
		"assertion", assertion, "requested_token_use", "on_behalf_of", "scope", crm)
	for name, tt := range map[string]struct {
		form map[string][]string
		code string
	}{
		"on-behalf-of": {obo, "interaction_required"},
		"password": {form("grant_type", "password", "client_id", desktop, "username", ada.Username, "password",
			ada.Password, "scope", crm), "invalid_grant"},
	} {
		a := post(t, s, tenant, tt.form)
		if diff := cmp.Diff(head(tt.code)+challenge, skeleton(t, a.raw)); diff != "" || a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.status, diff)
		}
	}
	// A sign-in for the resource is good for it and for what descends from it.
	strong := authCode(t, s, c, []string{guarded + "/user_impersonation"})
	if err := refresh(strong, guarded+"/other"); err != nil {
		t.Errorf("after a sign-in: %v", err)
	}
	if a := post(t, s, tenant, appForm()); a.status != http.StatusOK {
		t.Errorf("an app: %s", a.raw)
	}
}

// A sign-in that carries the claims of the challenge passes, whatever it is for.
func TestConditionalAccessByClaims(t *testing.T) {
	s := start(t, nil)
	s.SetBehavior(func(b *entratest.Behavior) { b.ConditionalAccess = []string{"https://org.crm4.dynamics.com"} })
	refused := post(t, s, tenant, form("grant_type", "password", "client_id", desktop, "username", ada.Username,
		"password", ada.Password, "scope", crm))
	var claims string
	if err := json.Unmarshal([]byte(refused.raw), &struct {
		Claims *string `json:"claims"`
	}{&claims}); err != nil || claims == "" {
		t.Fatalf("%v: %s", err, refused.raw)
	}
	for name, tt := range map[string]struct {
		claims string
		want   int
	}{"with": {claims, http.StatusOK}, "without": {"", http.StatusBadRequest}} {
		q := form("client_id", webApp, "redirect_uri", reply, "response_type", "code", "scope", "User.Read offline_access",
			"claims", tt.claims)
		code, err := s.AuthorizeCode(s.Authority(tenant)+"/oauth2/v2.0/authorize?"+q.Encode(), ada.Username)
		if err != nil {
			t.Fatal(err)
		}
		app := form("client_id", webApp, "client_secret", secret)
		a := post(t, s, tenant, with(app, "grant_type", "authorization_code", "redirect_uri", reply, "code", code))
		if a.status != http.StatusOK {
			t.Fatal(a.raw)
		}
		if a := post(t, s, tenant, with(app, "grant_type", "refresh_token", "refresh_token", a.RefreshToken, "scope",
			crm)); a.status != tt.want {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
}

func TestConditionalAccessBody(t *testing.T) {
	got := entratest.ConditionalAccessBody("invalid_grant", 53003, "Access has been blocked.", "message_only",
		`{"access_token":{}}`)
	want := `{"error":"invalid_grant","error_description":"AADSTS53003: Access has been blocked. …",` +
		`"error_codes":[53003],"timestamp":"…","trace_id":"…","correlation_id":"…",` +
		`"error_uri":"https://login.microsoftonline.com/error?code=53003","suberror":"message_only",` +
		`"claims":"{\"access_token\":{}}"}`
	if diff := cmp.Diff(want, skeleton(t, got)); diff != "" {
		t.Error(diff)
	}
}
