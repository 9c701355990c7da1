package entratest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// Every name that MSAL knows leads here, with MSAL's own checks on.
func TestAuthorities(t *testing.T) {
	s := start(t, nil)
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		authority string
		opts      []confidential.Option
		issuer    string
	}{
		"public":        {"https://login.microsoftonline.com/" + tenant, nil, "login.microsoftonline.com"},
		"alias":         {"https://login.windows.net/" + tenant, nil, "login.microsoftonline.com"},
		"sts":           {"https://sts.windows.net/" + tenant, nil, "login.microsoftonline.com"},
		"US government": {"https://login.microsoftonline.us/" + tenant, nil, "login.microsoftonline.us"},
		"China":         {"https://login.partner.microsoftonline.cn/" + tenant, nil, "login.partner.microsoftonline.cn"},
		"region": {"https://login.microsoftonline.com/" + tenant,
			[]confidential.Option{confidential.WithAzureRegion("westeurope")}, "login.microsoftonline.com"},
		"CIAM": {"https://contoso.ciamlogin.com/" + tenant,
			[]confidential.Option{confidential.WithInstanceDiscovery(false)}, "contoso.ciamlogin.com"},
		"local": {s.LocalAuthority(tenant), []confidential.Option{confidential.WithInstanceDiscovery(false)},
			s.Host()},
		"local, discovering": {s.LocalAuthority(tenant), nil, s.Host()},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := confidential.New(tt.authority, webApp, cred,
				append(tt.opts, confidential.WithHTTPClient(s.HTTPClient()))...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.AcquireTokenByCredential(t.Context(), []string{graph})
			if err != nil {
				t.Fatal(err)
			}
			if iss := claimsOf(t, got.AccessToken)["iss"].(string); !strings.HasPrefix(iss, "https://"+tt.issuer+"/") ||
				!strings.HasSuffix(iss, "/v2.0") {
				t.Errorf("issuer %s, want host %s", iss, tt.issuer)
			}
		})
	}
}

func TestInstanceDiscovery(t *testing.T) {
	s := start(t, nil)
	ask := func(host string) (status int, body struct {
		Endpoint string `json:"tenant_discovery_endpoint"`
		Error    string `json:"error"`
		Metadata []struct {
			PreferredNetwork string   `json:"preferred_network"`
			PreferredCache   string   `json:"preferred_cache"`
			Aliases          []string `json:"aliases"`
		} `json:"metadata"`
	}) {
		q := url.Values{"api-version": {"1.1"},
			"authorization_endpoint": {"https://" + host + "/" + tenant + "/oauth2/v2.0/authorize"}}
		status = getJSON(t, s, "https://login.microsoftonline.com/common/discovery/instance?"+q.Encode(), &body)
		return status, body
	}
	status, body := ask("login.microsoft.com")
	if status != http.StatusOK || body.Endpoint != "https://login.microsoft.com/"+tenant+
		"/v2.0/.well-known/openid-configuration" {
		t.Errorf("%d %+v", status, body)
	}
	if m := body.Metadata[0]; m.PreferredCache != "login.windows.net" || !slices.Contains(m.Aliases, "sts.windows.net") {
		t.Errorf("%+v", m)
	}
	if status, body := ask("evil.example"); status != http.StatusBadRequest || body.Error != "invalid_instance" {
		t.Errorf("unknown host: %d %+v", status, body)
	}
}

func TestOpenIDConfiguration(t *testing.T) {
	s := start(t, &entratest.Config{Tenants: []string{tenant}})
	var body map[string]any
	if status := getJSON(t, s, s.Authority("common")+"/v2.0/.well-known/openid-configuration", &body); status != 200 ||
		body["issuer"] != "https://login.microsoftonline.com/{tenantid}/v2.0" {
		t.Errorf("common: %d %v", status, body)
	}
	for _, path := range []string{"/v2.0/.well-known/openid-configuration", "/discovery/v2.0/keys"} {
		if status := getJSON(t, s, s.Authority("fabrikam.com")+path, &body); status != http.StatusBadRequest ||
			!strings.HasPrefix(body["error_description"].(string), "AADSTS90002") {
			t.Errorf("unknown tenant: %d %v", status, body)
		}
	}
	// A tenant by name is the tenant by GUID.
	getJSON(t, s, s.Authority(tenant)+"/v2.0/.well-known/openid-configuration", &body)
	tid := strings.Split(body["issuer"].(string), "/")[3]
	if a := post(t, s, tid, appForm()); a.status != http.StatusOK {
		t.Error(a.raw)
	}
}

// Another process has the address and the authority's PEM, nothing more.
func TestTransportOfAnotherProcess(t *testing.T) {
	s := start(t, nil)
	for name, addr := range map[string]string{"host": s.Host(), "url": s.URL()} {
		t.Run(name, func(t *testing.T) {
			transport, err := entratest.Transport(addr, s.CAPEM())
			if err != nil {
				t.Fatal(err)
			}
			defer transport.CloseIdleConnections()
			c := secretClient(t, s, webApp, secret, confidential.WithHTTPClient(&http.Client{Transport: transport}))
			if _, err := c.AcquireTokenByCredential(t.Context(), []string{graph}); err != nil {
				t.Error(err)
			}
		})
	}
	client, err := entratest.ClientFromPEM(s.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.LocalAuthority(tenant) + "/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp, err := client.Get("https://login.microsoftonline.com/"); err == nil ||
		!strings.Contains(err.Error(), "no emulator address") {
		if err == nil {
			resp.Body.Close()
		}
		t.Errorf("a client without address went to Microsoft: %v", err)
	}
	if _, err := entratest.Transport(s.Host(), []byte("nonsense")); err == nil {
		t.Error("no certificate, no error")
	}
	if _, err := entratest.Transport("nonsense", s.CAPEM()); err == nil {
		t.Error("no port, no error")
	}
}

// A client that does not trust the authority gets nowhere, and neither does one of another server.
func TestServersAreApart(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	resp, err := a.HTTPClient().Get(b.URL() + "/entratest/requests")
	if err == nil {
		resp.Body.Close()
		t.Error("one server's client trusts another")
	}
	plain := &http.Transport{}
	defer plain.CloseIdleConnections()
	if resp, err := (&http.Client{Transport: plain}).Get(a.URL()); err == nil {
		resp.Body.Close()
		t.Error("a plain client trusts the server")
	}
	with := &http.Transport{TLSClientConfig: nil}
	with.TLSClientConfig = tlsConfig(a)
	defer with.CloseIdleConnections()
	resp, err = (&http.Client{Transport: with}).Get(a.URL() + "/entratest/requests")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := entratest.NewServer(&entratest.Config{Addr: a.Host()}); err == nil {
		t.Error("two servers on one address")
	}
}
