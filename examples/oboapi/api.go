package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/msal-redis/msal-redis-go/apiclient"
	"github.com/msal-redis/msal-redis-go/azcred"
)

// graph is the API that this one calls, and scopes are what for.
const graph = "https://graph.microsoft.com"

var scopes = []string{graph + "/User.Read"}

// scope is what a caller's token must have been given for: the API's own, under "Expose an API".
const scope = "access_as_user"

type api struct {
	name   string
	tenant string
	verify *oidc.IDTokenVerifier
	cred   *azcred.Credential
	sends  http.RoundTripper // made once: its connections are those of all requests
}

func newAPI(name, tenant, clientID string, cred *azcred.Credential) *api {
	a := &api{name: name, tenant: tenant, cred: cred, sends: apiclient.NewTransport(64)}
	// The keys are fetched when they are wanted, and again when Entra ID signs with another (see seldom), so the API
	// starts while Entra ID is away. The issuer has the tenant in it: the app registration must ask for version 2 tokens
	// (requestedAccessTokenVersion), whose audience is the client id.
	authority := "https://login.microsoftonline.com/" + tenant
	ctx := oidc.ClientContext(context.Background(),
		&http.Client{Transport: &seldom{base: http.DefaultTransport}, Timeout: 10 * time.Second})
	a.verify = oidc.NewVerifier(authority+"/v2.0", oidc.NewRemoteKeySet(ctx, authority+"/discovery/v2.0/keys"),
		&oidc.Config{ClientID: clientID})
	return a
}

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /me", a.me)
	return mux
}

// me is what Graph says of the caller.
func (a *api) me(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Instance", a.name)
	token, ok := a.caller(w, r)
	if !ok {
		return
	}
	// A client in the name of this user. It costs nothing: the connections are a.sends's, the tokens the cache's.
	client, err := apiclient.New(graph, a.cred.OnBehalfOf(token), &apiclient.Options{Scopes: scopes, Transport: a.sends})
	if err != nil {
		a.fail(w, r, err)
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, graph+"/v1.0/me", nil)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, io.LimitReader(resp.Body, 1<<20)) // the caller may have left
	case http.StatusUnauthorized:
		// The client has asked anew with the claims that Graph wants, and that was not enough: only the user can help.
		for _, challenge := range resp.Header.Values("WWW-Authenticate") {
			w.Header().Add("WWW-Authenticate", challenge)
		}
		http.Error(w, "Graph wants the user to sign in again", http.StatusUnauthorized)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", resp.Header.Get("Retry-After"))
		http.Error(w, "Graph is busy", http.StatusServiceUnavailable)
	default:
		http.Error(w, "Graph answers "+resp.Status, http.StatusBadGateway)
	}
}

// caller is the token of the request, if it is one for this API: signed by Entra ID, by this tenant, for this audience,
// alive, and of a user who has agreed to this app's acting for them. Otherwise it has answered, by RFC 6750.
func (a *api) caller(w http.ResponseWriter, r *http.Request) (token string, ok bool) {
	token, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a token is missing", http.StatusUnauthorized)
		return "", false
	}
	var claims struct {
		Tenant string `json:"tid"`
		Scopes string `json:"scp"` // absent in an app's own token, which nobody can act on behalf of
	}
	verified, err := a.verify.Verify(r.Context(), token)
	if err == nil {
		err = verified.Claims(&claims)
	}
	if err != nil || claims.Tenant != a.tenant {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "the token is not one for this API", http.StatusUnauthorized)
		return "", false
	}
	if !slices.Contains(strings.Fields(claims.Scopes), scope) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+scope+`"`)
		http.Error(w, "the token lacks the scope "+scope, http.StatusForbidden)
		return "", false
	}
	return token, true
}

// fail answers where Graph could not be asked.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch problem := refusal(err); {
	case r.Context().Err() != nil: // nobody listens
	case problem.Claims != "":
		// Entra ID wants something of the user that only their own client can ask for, such as a second factor:
		// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow#error-response-example
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(
			`Bearer realm="", authorization_uri="https://login.microsoftonline.com/%s/oauth2/v2.0/authorize", `+
				`error="insufficient_claims", claims="%s"`,
			a.tenant, base64.StdEncoding.EncodeToString([]byte(problem.Claims))))
		http.Error(w, "sign in again with the claims of this challenge", http.StatusUnauthorized)
	case problem.Code == "invalid_grant" || problem.Code == "interaction_required":
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "sign in again", http.StatusUnauthorized)
	default:
		slog.ErrorContext(r.Context(), "Graph could not be asked", "error", err)
		http.Error(w, "Graph could not be asked", http.StatusBadGateway)
	}
}

// oauthError is Entra ID's answer to a token request that it refuses.
type oauthError struct {
	Code   string `json:"error"`
	Claims string `json:"claims"`
}

// refusal is Entra ID's, or nothing.
func refusal(err error) (e oauthError) {
	var refused msal.CallErr
	if errors.As(err, &refused) && refused.Resp != nil {
		_ = json.NewDecoder(refused.Resp.Body).Decode(&e) // a gateway's page is no JSON
	}
	return e
}
