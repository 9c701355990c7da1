package standin

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// Guard lets those to an API who have a token for it: of the emulator, for the API, alive, and issued by a tenant of
// the API's cloud. It answers others with 401 and a challenge (RFC 6750).
type Guard struct {
	Entra *entratest.Server

	// Audience is the API's resource, as in https://graph.microsoft.com.
	Audience string

	// Authority is the host that issues tokens in the API's cloud. Default: login.microsoftonline.com.
	Authority string

	// RevokeAfter is after which request its token is revoked: from then on that token is answered with a claims
	// challenge, if its client says that it understands one (CP1), and goes on serving if not.
	// https://learn.microsoft.com/entra/identity-platform/claims-challenge. Default: none is.
	RevokeAfter int

	// CertificateOnly refuses tokens of apps that proved themselves with a secret, as SharePoint does.
	CertificateOnly bool
}

// Caller is what a token says.
type Caller struct {
	Tenant       string   `json:"tid"`
	Name         string   `json:"name"`
	Username     string   `json:"preferred_username"`
	Proof        string   `json:"azpacr"` // 1: a secret, 2: a certificate
	Capabilities []string `json:"xms_cc"`
	ID           string   `json:"uti"`
}

type callerKey struct{}

// CallerOf is who makes a request that a Guard let through.
func CallerOf(r *http.Request) Caller { return r.Context().Value(callerKey{}).(Caller) }

// Wrap puts the guard before an API.
func (g Guard) Wrap(next http.Handler) http.Handler {
	if g.Authority == "" {
		g.Authority = "login.microsoftonline.com"
	}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), g.Entra.HTTPClient()),
		g.Entra.URL()+"/common/discovery/v2.0/keys")
	// Tokens come from many tenants, and each tenant is an issuer.
	verifier := oidc.NewVerifier("", keys, &oidc.Config{ClientID: g.Audience, SkipIssuerCheck: true})
	var mu sync.Mutex
	served, revoked := 0, ""
	// admit tells whether the token has been revoked meanwhile.
	admit := func(c Caller) bool {
		mu.Lock()
		defer mu.Unlock()
		if revoked == c.ID && slices.Contains(c.Capabilities, "CP1") {
			return false
		}
		if served++; served == g.RevokeAfter {
			revoked = c.ID
		}
		return true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c Caller
		text, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := verifier.Verify(r.Context(), text)
		if err == nil {
			err = token.Claims(&c)
		}
		switch {
		case !found:
			g.refuse(w, "", "")
		case err != nil || token.Issuer != "https://"+g.Authority+"/"+c.Tenant+"/v2.0":
			g.refuse(w, "invalid_token", "")
		case g.CertificateOnly && c.Proof != "2":
			g.refuse(w, "invalid_token", "Unsupported app only token.")
		case !admit(c):
			claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, time.Now().Unix())
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(
				`Bearer realm="", authorization_uri="https://%s/common/oauth2/authorize", `+
					`error="insufficient_claims", claims="%s"`,
				g.Authority, base64.StdEncoding.EncodeToString([]byte(claims))))
			Error(w, http.StatusUnauthorized, "InvalidAuthenticationToken",
				"Continuous access evaluation resulted in challenge with result: InteractionRequired and code: "+
					"TokenIssuedBeforeRevocationTimestamp")
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
		}
	})
}

func (g Guard) refuse(w http.ResponseWriter, code, text string) {
	challenge := fmt.Sprintf(`Bearer authorization_uri="https://%s/common/oauth2/authorize", resource_id="%s"`,
		g.Authority, g.Audience)
	if code != "" {
		challenge += fmt.Sprintf(`, error="%s"`, code)
	}
	if text != "" {
		challenge += fmt.Sprintf(`, error_description="%s"`, text)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	Error(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is missing, or not one for this API.")
}
