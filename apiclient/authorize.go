package apiclient

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// authorizer attaches the token, and answers challenges.
type authorizer struct {
	cred   azcore.TokenCredential
	origin string
	token  policy.TokenRequestOptions
}

// Do implements policy.Policy.
func (a *authorizer) Do(req *policy.Request) (*http.Response, error) {
	if originOf(req.Raw().URL) != a.origin {
		return req.Next()
	}
	refused, err := a.attach(req, "")
	if err != nil {
		return nil, err
	}
	resp, err := req.Next()
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !callOf(req).repeatable() {
		return resp, err
	}
	// Of many requests that are refused at once, one asks for the new token, and those that come later find it: so look
	// before asking.
	token, err := a.attach(req, "")
	if err == nil && token == refused {
		claims := claimsOf(resp.Header)
		if claims == "" {
			return resp, nil
		}
		_, err = a.attach(req, claims)
	}
	runtime.Drain(resp)
	if err != nil {
		return nil, err
	}
	return req.Next()
}

func (a *authorizer) attach(req *policy.Request, claims string) (string, error) {
	o := a.token
	o.Claims = claims
	// The caller's own context: this one says how the API's requests are repeated, and the credential has its own pipeline.
	token, err := a.cred.GetToken(callOf(req).r.Context(), o)
	if err != nil {
		return "", final{fmt.Errorf("apiclient: no token for the API: %w", err)}
	}
	req.Raw().Header.Set("Authorization", "Bearer "+token.Token)
	return token.Token, nil
}

// originOf is RFC 6454's: what a token is bound to.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" && u.Scheme == "https" {
		port = "443"
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
