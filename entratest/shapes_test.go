package entratest_test

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// The shapes here are those of answers that were recorded of Entra ID, with the values that differ each time taken out.

// skeleton is a JSON answer with its secrets, ids and times replaced, its members in the order in which they were sent.
func skeleton(t *testing.T, raw string) string {
	t.Helper()
	for _, cut := range []struct{ what, with string }{
		{`"(access_token|refresh_token|id_token|client_info|timestamp|trace_id|correlation_id)":"[^"]*"`, `"$1":"…"`},
		{`Trace ID: .*?Z"`, `…"`},
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, `<guid>`},
	} {
		raw = regexp.MustCompile(cut.what).ReplaceAllString(raw, cut.with)
	}
	return raw
}

// All that a user consented to comes back, whatever was asked: OpenID Connect's first, .default last.
func TestConsentedScopes(t *testing.T) {
	const at = "https://graph.microsoft.com/"
	type step struct{ asked, granted string }
	for name, tt := range map[string]struct {
		consented []string
		steps     []step
	}{
		"incremental": {nil, []step{
			{at + "User.Read", "email openid profile " + at + "User.Read"},
			{at + "Mail.Read", "email openid profile " + at + "Mail.Read " + at + "User.Read"},
			{at + "User.Read", "email openid profile " + at + "Mail.Read " + at + "User.Read"},
			{"user.read", "email openid profile Mail.Read user.read"},
			{at + ".default", "email openid profile " + at + "Mail.Read " + at + "User.Read " + at + ".default"},
			{"openid", "email openid profile Mail.Read User.Read"},
		}},
		"by an administrator": {[]string{at + "User.ReadWrite.All", "AuditLog.Read.All",
			"https://org.crm4.dynamics.com/user_impersonation"}, []step{
			{at + ".default", "email openid profile " + at + "AuditLog.Read.All " + at +
				"User.ReadWrite.All " + at + ".default"},
			{at + "Group.Read.All", "email openid profile " + at + "AuditLog.Read.All " + at + "Group.Read.All " + at +
				"User.ReadWrite.All"},
			{crm, "https://org.crm4.dynamics.com/user_impersonation https://org.crm4.dynamics.com/.default"},
		}},
		"a resource with a slash": {nil, []step{
			{"https://management.core.windows.net//.default",
				"https://management.core.windows.net//user_impersonation https://management.core.windows.net//.default"},
		}},
		"resources apart": {nil, []step{
			{at + "User.Read", "email openid profile " + at + "User.Read"},
			{"https://contoso.sharepoint.com/AllSites.Read", "https://contoso.sharepoint.com/AllSites.Read"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			s.AddApp(entratest.App{ClientID: desktop, Public: true, Consented: tt.consented})
			for _, step := range tt.steps {
				if got := signIn(t, s, step.asked).Scope; got != step.granted {
					t.Errorf("%s: scope %q, want %q", step.asked, got, step.granted)
				}
			}
		})
	}
}

// Consent is one user's to one app in one tenant, and a declined scope is none.
func TestConsentIsOneUsers(t *testing.T) {
	s := start(t, nil)
	s.AddUser(entratest.User{Username: "eve@contoso.com", Password: "pa55-eve"})
	s.AddApp(entratest.App{ClientID: api, Public: true})
	ask := func(tenant, client, user, password, scope string) string {
		return post(t, s, tenant, form("grant_type", "password", "client_id", client, "username", user, "password", password,
			"scope", scope)).Scope
	}
	ask(tenant, desktop, ada.Username, ada.Password, "Mail.Read")
	for name, got := range map[string]string{
		"another user":   ask(tenant, desktop, "eve@contoso.com", "pa55-eve", "User.Read"),
		"another app":    ask(tenant, api, ada.Username, ada.Password, "User.Read"),
		"another tenant": ask("fabrikam.com", desktop, ada.Username, ada.Password, "User.Read"),
	} {
		if got != "email openid profile User.Read" {
			t.Errorf("%s: %q", name, got)
		}
	}
	s.SetBehavior(func(b *entratest.Behavior) { b.DeclinedScopes = []string{"https://graph.microsoft.com/Files.Read"} })
	declined := ask(tenant, desktop, ada.Username, ada.Password, "Files.Read User.Read")
	s.SetBehavior(func(b *entratest.Behavior) { b.DeclinedScopes = nil })
	if after := ask(tenant, desktop, ada.Username, ada.Password, "User.Read"); declined != "email openid profile "+
		"Mail.Read User.Read" || after != declined {
		t.Errorf("declined: %q, then %q", declined, after)
	}
}

// A user's answer, member by member, of an app of Microsoft's family and of another.
func TestUserAnswerShape(t *testing.T) {
	s := start(t, nil)
	const scope = `"scope":"email openid profile https://graph.microsoft.com/User.Read ` +
		`https://graph.microsoft.com/.default"`
	for name, tt := range map[string]struct{ family, want string }{
		"family": {"1", `{"token_type":"Bearer",` + scope + `,"expires_in":3600,"ext_expires_in":3600,"access_token":"…",` +
			`"refresh_token":"…","id_token":"…","foci":"1","client_info":"…"}`},
		"other": {"", `{"token_type":"Bearer",` + scope + `,"expires_in":3600,"ext_expires_in":3600,"access_token":"…",` +
			`"refresh_token":"…","id_token":"…","client_info":"…"}`},
	} {
		s.AddApp(entratest.App{ClientID: desktop, Public: true, Family: tt.family})
		if diff := cmp.Diff(tt.want, skeleton(t, signIn(t, s, graph+" openid profile offline_access").raw)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A family's refresh token serves all of the family, and nobody else.
func TestFamilyRefreshToken(t *testing.T) {
	s := start(t, nil)
	const sibling, stranger = "55555555-5555-4555-8555-555555555555", "66666666-6666-4666-8666-666666666666"
	s.AddApp(entratest.App{ClientID: desktop, Public: true, Family: "1"})
	s.AddApp(entratest.App{ClientID: sibling, Public: true, Family: "1"})
	s.AddApp(entratest.App{ClientID: stranger, Public: true})
	token := signIn(t, s, "User.Read offline_access").RefreshToken
	if a := post(t, s, tenant, with(refreshForm(token), "client_id", sibling)); a.status != http.StatusOK ||
		a.fields["foci"] != "1" {
		t.Errorf("sibling: %s", skeleton(t, a.raw))
	}
	if a := post(t, s, tenant, with(refreshForm(token), "client_id", stranger)); a.Error != "invalid_grant" {
		t.Errorf("stranger: %s", skeleton(t, a.raw))
	}
}

// Lifetimes lie where Entra ID's do, differ from answer to answer, and are the same for the same seed.
func TestVaryLifetimes(t *testing.T) {
	run := func(seed uint64) (users, apps []float64) {
		s := start(t, nil)
		s.SetBehavior(func(b *entratest.Behavior) { b.VaryLifetimes = seed })
		for i := range 20 {
			a := signIn(t, s, graph)
			users = append(users, a.fields["expires_in"].(float64))
			claims := claimsOf(t, a.AccessToken)
			if claims["exp"].(float64)-claims["iat"].(float64) != users[i] || a.fields["ext_expires_in"] != users[i] {
				t.Errorf("expires_in %v, ext_expires_in %v, claims %v", users[i], a.fields["ext_expires_in"], claims)
			}
			resource := fmt.Sprintf("https://org%d.crm.dynamics.com/.default", i)
			app := post(t, s, tenant, with(appForm(), "scope", resource)).fields["expires_in"].(float64)
			if again := post(t, s, tenant, with(appForm(), "scope", resource)).fields["expires_in"]; again != app {
				t.Errorf("%s: %v, then %v", resource, app, again)
			}
			apps = append(apps, app)
		}
		return users, apps
	}
	users, apps := run(7)
	distinct := map[float64]bool{}
	for _, n := range users {
		distinct[n] = true
		if n < 3599 || n > 4922 {
			t.Errorf("a user's token of %v s", n)
		}
	}
	if len(distinct) < 10 {
		t.Errorf("%d different lifetimes in 20", len(distinct))
	}
	slices.Sort(apps)
	if diff := cmp.Diff([]float64{3599, 86399}, slices.Compact(slices.Clone(apps))); diff != "" {
		t.Error(diff)
	}
	again, _ := run(7)
	if other, _ := run(8); !slices.Equal(users, again) || slices.Equal(users, other) {
		t.Errorf("seed 7: %v and %v; seed 8: %v", users, again, other)
	}
	s := start(t, nil)
	s.SetBehavior(func(b *entratest.Behavior) { b.VaryLifetimes, b.AccessTokenLifetime = 7, 302*time.Second })
	if got := signIn(t, s, graph).fields["expires_in"]; got != 302.0 {
		t.Errorf("a chosen lifetime: %v", got)
	}
}

// What a region's configuration has, and how a domain's names its endpoints.
func TestConfigurationShape(t *testing.T) {
	s := start(t, nil)
	const suffix = "/v2.0/.well-known/openid-configuration"
	configuration := func(authority string) map[string]any {
		var config map[string]any
		if status := getJSON(t, s, authority+suffix, &config); status != http.StatusOK {
			t.Fatalf("%s: %d %v", authority, status, config)
		}
		return config
	}
	tid := strings.Split(configuration(s.Authority(tenant))["issuer"].(string), "/")[3]
	for name, tt := range map[string]struct{ authority, host, tenant, authorize, device string }{
		"domain": {s.Authority(tenant), "login.microsoftonline.com", tid, "/oauth2/v2.0/authorize",
			"/oauth2/v2.0/devicecode"},
		"GUID": {s.Authority(tid), "login.microsoftonline.com", tid, "/oauth2/v2.0/authorize", "/oauth2/v2.0/devicecode"},
		"common": {s.Authority("common"), "login.microsoftonline.com", "common", "/oauth2/v2.0/authorize",
			"/oauth2/v2.0/devicecode"},
		"region": {"https://westeurope.login.microsoft.com/" + tenant, "westeurope.login.microsoft.com", tid, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			base := "https://" + tt.host + "/" + tt.tenant
			want := map[string]any{"token_endpoint": base + "/oauth2/v2.0/token", "jwks_uri": base + "/discovery/v2.0/keys",
				"authorization_endpoint": "unsupported"}
			if tt.device != "" {
				want["authorization_endpoint"], want["device_authorization_endpoint"] = base+tt.authorize, base+tt.device
			}
			config := configuration(tt.authority)
			got := maps.Clone(config)
			maps.DeleteFunc(got, func(key string, _ any) bool {
				return !strings.HasSuffix(key, "endpoint") && key != "jwks_uri"
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	s.AddDomain("Contoso.Example", tenant)
	if got := configuration(s.Authority("contoso.example"))["token_endpoint"]; got != "https://login.microsoftonline.com/"+
		tid+"/oauth2/v2.0/token" {
		t.Errorf("another domain of the tenant: %v", got)
	}
	// MSAL's requests go there, and count for the domain as well as for the GUID.
	if _, err := secretClient(t, s, webApp, secret).AcquireTokenByCredential(t.Context(), []string{crm}); err != nil {
		t.Fatal(err)
	}
	if r := s.Requests(); len(r) != 1 || r[0].Tenant != tid || s.Count(entratest.ByTenant(tenant)) != 1 ||
		s.Count(entratest.ByTenant(tid)) != 1 || s.Count(entratest.ByTenant("fabrikam.com")) != 0 ||
		s.Count(entratest.ByTenant("common")) != 0 {
		t.Errorf("%+v", r)
	}
}

// HTTP/1.1 is all there is, and an answer brings cookies of its own.
func TestTransportShape(t *testing.T) {
	s := start(t, nil)
	conn, err := tls.Dial("tcp", s.Host(), &tls.Config{RootCAs: s.CertPool(), NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("negotiated %q", got)
	}
	seen := map[string]bool{}
	for name, v := range map[string][]string{"token": {"scope", graph}, "another token": {"scope", graph},
		"error": {"client_secret", "wrong"}} {
		cookies := post(t, s, tenant, with(appForm(), v...)).header.Values("Set-Cookie")
		if len(cookies) < 2 || len(cookies) > 4 || seen[cookies[0]] || !strings.HasPrefix(cookies[0], "fpc=") {
			t.Errorf("%s: %d cookies, or those of another", name, len(cookies))
		}
		seen[cookies[0]] = true
	}
	resp, err := s.HTTPClient().Get(s.Authority(tenant) + "/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := len(resp.Cookies()); n < 2 || n > 4 || resp.ProtoMajor != 1 {
		t.Errorf("openid-configuration: %d cookies, %s", n, resp.Proto)
	}
}

// An ID token lies back by five minutes, for clocks that are behind, and lives for an hour from now.
func TestIDTokenLiesBack(t *testing.T) {
	s := start(t, nil)
	before := time.Now().Unix()
	claims := claimsOf(t, signIn(t, s, "User.Read openid").IDToken)
	after := time.Now().Unix()
	iat, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
	if iat < before-299 || iat > after-299 || claims["nbf"] != claims["iat"] || exp-iat < 3898 || exp-iat > 3900 {
		t.Errorf("iat %d, nbf %v, exp %d, answered between %d and %d", iat, claims["nbf"], exp, before, after)
	}
}

func TestPlainThrottling(t *testing.T) {
	s := start(t, nil)
	s.SetBehavior(func(b *entratest.Behavior) { b.PlainThrottling = true })
	for name, tt := range map[string]struct {
		fault entratest.Fault
		retry string
		body  string
	}{
		"429":            {entratest.Fault{Status: 429}, "60", "Too Many Requests"},
		"429, in 7 s":    {entratest.Fault{Status: 429, RetryAfter: "7"}, "7", "Too Many Requests"},
		"429 with words": {entratest.Fault{Status: 429, Body: "slower"}, "", "slower"},
	} {
		remove := s.AddFault(tt.fault)
		a := post(t, s, tenant, appForm())
		remove()
		if a.status != http.StatusTooManyRequests || a.raw != tt.body || a.header.Get("Retry-After") != tt.retry {
			t.Errorf("%s: %d %q, Retry-After %q", name, a.status, a.raw, a.header.Get("Retry-After"))
		}
	}
	s.AddFault(entratest.Fault{Status: 503})
	if a := post(t, s, tenant, appForm()); a.Error != "temporarily_unavailable" || a.header.Get("Retry-After") != "" {
		t.Errorf("503: %s", a.raw)
	}
}
