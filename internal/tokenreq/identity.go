package tokenreq

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
)

// identify works out a request's identity: all of it that is not known to be without meaning.
//
// A refresh token's value is not: each use brings another. Where it comes from stands in its place, and so its answer
// is that of the account, or of the on-behalf-of request that it goes on from. What it asks for, where, and by whom,
// counts as it does without a refresh token: one and the same is sent to the endpoints of several tenants.
func (r *Request) identify(scopes msaldoc.Scopes, challenge string, newer bool) {
	kind := kinds[r.Kind]
	r.Base = layout.HashID("request", string(r.Asked), kind.grant, kind.whose(r), scopes.String())
	r.ID = r.Base
	if challenge != "" {
		r.Challenge, r.Newer = challenge, newer
		r.ID = layout.HashID("challenge", string(r.Base), challenge)
	}
}

// federatedUser is whom a user_fic request is for.
func federatedUser(r *Request) string {
	return string(layout.HashID("user", r.Form.Get("user_federated_identity_credential"), r.Form.Get("user_id"),
		r.Form.Get("username")))
}

// Parameters that are no part of what a request shares as they stand: without meaning, or taken into it in another
// form.
var readParameters = map[string]bool{
	"client_info": true, "client-request-id": true, "return-client-request-id": true, "x-client-sku": true,
	"x-client-ver": true, "x-client-os": true, "x-client-cpu": true, "x-client-current-telemetry": true,
	"x-client-last-telemetry": true, "grant_type": true, "client_id": true, "scope": true, "claims": true,
	"client_secret": true, "client_assertion": true,
}

// Parameters of a grant that say whose token it is. The identity has them in a form of its own.
var (
	refreshParameters    = map[string]bool{"refresh_token": true}
	onBehalfOfParameters = map[string]bool{"assertion": true, "requested_token_use": true}
	userFICParameters    = map[string]bool{"user_federated_identity_credential": true, "user_id": true, "username": true}
	signInParameters     = map[string]bool{
		"code": true, "code_verifier": true, "redirect_uri": true, "device_code": true, "username": true,
		"password": true, "assertion": true,
	}
)

// Headers without meaning for a token. Any other makes another identity.
var meaninglessHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Connection": true, "Content-Length": true,
	"Content-Type": true, "Cookie": true, "User-Agent": true, "Traceparent": true, "Tracestate": true, "Baggage": true,
	"Client-Request-Id": true, "Return-Client-Request-Id": true, "X-Ms-Client-Request-Id": true, "X-Request-Id": true,
	"X-Correlation-Id": true, "X-Client-Sku": true, "X-Client-Ver": true, "X-Client-Os": true, "X-Client-Cpu": true,
	"X-Client-Current-Telemetry": true, "X-Client-Last-Telemetry": true, "X-Ms-Lib-Capability": true,
	"X-Anchormailbox": true, "B3": true, "Uber-Trace-Id": true, "X-Amzn-Trace-Id": true, "X-Cloud-Trace-Context": true,
	"Sentry-Trace": true, "Newrelic": true, "Elastic-Apm-Traceparent": true,
}

// withoutMeaning tells whether a header says nothing of the token: it is in the list, or one of a family that traces.
func withoutMeaning(header string) bool {
	header = http.CanonicalHeaderKey(header)
	return meaninglessHeaders[header] || strings.HasPrefix(header, "X-Datadog-") || strings.HasPrefix(header, "X-B3-")
}

// parametersOf are the parameters and headers of a request beyond those that are read, by their exact names, less those
// that say whose it is.
func parametersOf(req *http.Request, form url.Values) []string {
	var whose map[string]bool
	switch form.Get("grant_type") {
	case GrantClientCredentials:
	case GrantOnBehalfOf:
		whose = onBehalfOfParameters
	case GrantRefreshToken:
		whose = refreshParameters
	case GrantUserFIC:
		whose = userFICParameters
	default:
		whose = signInParameters
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if !readParameters[name] && !whose[name] {
			parts = append(parts, string(layout.HashID("parameter", append([]string{name}, form[name]...)...)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(req.Header)) {
		if !withoutMeaning(name) {
			parts = append(parts, string(layout.HashID("header", append([]string{name}, req.Header[name]...)...)))
		}
	}
	if req.Host != "" && !strings.EqualFold(req.Host, req.URL.Host) {
		parts = append(parts, string(layout.HashID("host", strings.ToLower(req.Host))))
	}
	return parts
}

// assertionType is the part of every request with a client assertion (RFC 7521 section 4.2).
var assertionType = string(layout.HashID("parameter", "client_assertion_type",
	"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))

func termsOf(req *http.Request, client, endpoint string, c Credential, capabilities string, further []string) Terms {
	t := Terms{Capabilities: cmp.Or(capabilities, msaldoc.NoCapabilities)}
	asked := []string{endpoint, req.URL.RawQuery, strings.ToLower(client), c.identity, t.Capabilities}
	t.Asked = layout.HashID("asked", append(asked, further...)...)
	return t
}

func endpointOf(u *url.URL) string {
	endpoint := *u
	endpoint.RawQuery, endpoint.Fragment, endpoint.User = "", "", nil
	return strings.ToLower(endpoint.String())
}

// special tells whether a request asks for a token of which no record says that it is what it asks for.
func special(req *http.Request, resource msaldoc.Scopes, further []string) bool {
	return mutualTLS(req.URL.Hostname()) || len(resource) == 0 ||
		slices.ContainsFunc(further, func(p string) bool { return p != assertionType })
}

// withClientInfo is a form that asks for client_info, which names the user of a token: who shares the answer may have
// asked for it.
func withClientInfo(form url.Values) url.Values {
	if form.Get("grant_type") == GrantClientCredentials || form.Has("client_info") {
		return form
	}
	form = maps.Clone(form)
	form.Set("client_info", "1")
	return form
}
