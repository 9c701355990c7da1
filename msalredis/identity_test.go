package msalredis

import (
	"net/http"
	"net/url"
	"testing"
)

// Endpoints that differ by their query give different tokens, as Azure AD B2C's do by policy. Without a query an identity is
// what it always was, or a new version would not find what the fleet has.
func TestQueryOfTheEndpointIsPartOfTheIdentity(t *testing.T) {
	c := newFuzzCache(t, nil)
	form := url.Values{"grant_type": {grantClientCredentials}, "client_id": {"c"}, "client_secret": {"s"}, "scope": {"a"}}
	identity := func(query string) id {
		req, err := http.NewRequest(http.MethodPost, "https://login.microsoftonline.com/t/oauth2/v2.0/token"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.newTokenRequest(req, form, nil).rid
	}
	if got, want := identity(""), id("8EQpz1LvJetoAKyPOmmMFz38"); got != want {
		t.Errorf("the identity without a query is %q, was %q", got, want)
	}
	one, again := identity("?p=b2c_1_one"), identity("?p=b2c_1_one")
	if one == identity("") || one == identity("?p=b2c_1_two") {
		t.Error("endpoints that differ by their query share tokens")
	}
	if one != again {
		t.Error("one endpoint has two identities")
	}
}
