package discovery

import (
	"net/url"
	"testing"
)

// Who serves a discovery document may name any endpoint in it. That makes its tenant no other name of the endpoint's.
func TestDiscoveryOfAnotherCloudNamesNoTenant(t *testing.T) {
	const endpoint = "https://login.microsoftonline.com/a/oauth2/v2.0/token"
	document := []byte(`{"token_endpoint":"` + endpoint + `"}`)
	for from, named := range map[string]bool{
		"https://login.microsoftonline.com/b/v2.0/.well-known/openid-configuration":         true,
		"https://login.windows.net/b/v2.0/.well-known/openid-configuration":                 true,
		"https://westeurope.login.microsoft.com/b/v2.0/.well-known/openid-configuration":    true,
		"https://login.evil.example/b/v2.0/.well-known/openid-configuration":                false,
		"https://login.microsoftonline.com.evil.example/b/.well-known/openid-configuration": false,
		"https://evil.login.evil.example/b/.well-known/openid-configuration":                false,
		"https://login.microsoftonline.us/b/v2.0/.well-known/openid-configuration":          false,
		"http://login.microsoftonline.com/b/v2.0/.well-known/openid-configuration":          false,
	} {
		u, err := url.Parse(from)
		if err != nil {
			t.Fatal(err)
		}
		r := newTenants()
		r.learn(u, document)
		if got := r.of(endpoint, "/a/oauth2/v2.0/token")[0] == "b"; got != named {
			t.Errorf("%s: its tenant names the endpoint's: %v, want %v", from, got, named)
		}
	}
}
