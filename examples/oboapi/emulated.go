package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "oboapi",
	Help: `Serves a web API that calls Graph in the name of its callers. Entra ID, Redis
and Graph are emulated, and some users call, unless the environment names real
ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration of the API
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances: 2026a: and the
                    output of openssl rand -base64 32`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"},
	Emulate:  emulate,
	Run: func(ctx context.Context, out io.Writer, w *standin.World) error {
		return run(out, func(url string) error { return call(ctx, w, url, out) })
	},
	Cache: &options,
}

const (
	people = 20
	calls  = 20 // of each
)

const grace = "grace@contoso.com"

func everybody() []string {
	names := []string{grace}
	for i := range people {
		names = append(names, fmt.Sprintf("user%d@contoso.com", i+1))
	}
	return names
}

// onBehalfOf is the grant as it is sent.
const onBehalfOf = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// interaction is Entra ID's answer where the user must come.
const interaction = `{"error":"interaction_required","error_codes":[50076],"suberror":"basic_action",
"error_description":"AADSTS50076: Due to a configuration change made by your administrator, you must use ` +
	`multi-factor authentication.",
"claims":"{\"access_token\":{\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}"}`

// emulate stands Graph up, which tells callers who they are. After as many calls as the people make together it revokes
// the next token, and Entra ID gives no other for it on behalf of the same sign-in.
func emulate(w *standin.World) error {
	for _, username := range everybody() {
		w.Entra.AddUser(entratest.User{Username: username, Name: strings.TrimSuffix(username, "@contoso.com")})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.0/me", func(out http.ResponseWriter, r *http.Request) {
		c := standin.CallerOf(r)
		standin.JSON(out, map[string]string{"displayName": c.Name, "userPrincipalName": c.Username})
	})
	w.Entra.AddFault(entratest.Fault{
		// MSAL tries the refresh token of the on-behalf-of answer first.
		Match:  func(r entratest.Request) bool { return strings.Contains(r.Claims, "nbf") },
		Status: http.StatusBadRequest, Body: interaction,
	})
	return w.Serve(map[string]http.Handler{
		"graph.microsoft.com": standin.Guard{Entra: w.Entra, Audience: graph, RevokeAfter: people*calls + 1}.Wrap(mux),
	})
}
