package msalredis

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Grants that can be repeated, and so shared (MSAL: oauth/ops/internal/grant).
const (
	grantClientCredentials = "client_credentials"
	grantOnBehalfOf        = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantRefreshToken      = "refresh_token"
	grantUserFIC           = "user_fic"
)

// formAtMost bounds the request body that the gate reads. An assertion with many groups has some 10 KB.
const formAtMost = 256 << 10

// tokenRequest is one of MSAL's requests to a token endpoint, as the gate understands it.
type tokenRequest struct {
	form       url.Values
	endpoint   string // without query
	server     string // the host of the endpoint
	grant      string
	client     string
	scopes     scopes // without those MSAL adds
	realms     []string
	credential credential
	terms

	// challenge is the hash of claims beyond capabilities: a resource has refused what there was. Nothing older
	// than the request answers it.
	challenge string
	// newer: the challenge asks for nothing but a later token, as that of continuous access evaluation does; its answer is what
	// there was, renewed (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
	newer bool

	rid id // whose answer this is
	// base is the identity without the challenge, whose answer a challenge's success replaces.
	base id
	// special: no token in a record says that it is what this asks for. Its scopes name no resource, or it has a
	// parameter that the gate does not know.
	special bool
	// handover bounds how long an answer serves others; 0: its token's useful life.
	handover int64 // seconds
	flight   string

	lineage *lineage // of the refresh token, where known
	pids    []id     // what a removal must find this by: an app's partition under each name of its tenant; none: known from the answer
	begun   int64    // when MSAL sent it, in microseconds of Redis time
	since   int64    // likewise, since the Cache's start
	known   int64    // the latest generation of pids then, as far as this process knew

	// Copies: a flight may go on when RoundTrip has returned, and its caller has the request back.
	address string
	host    string // the Host field, where it is not the address's
	header  http.Header
	via     http.RoundTripper
	by      *gate // whose base via is
}

// readForm reads the form of a request to a token endpoint. ok is false where the gate has nothing to say to the
// request; what was read of its body is put back into rest.
func readForm(req *http.Request) (form url.Values, rest *http.Request, ok bool) {
	if req.Method != http.MethodPost || req.Body == nil || req.ContentLength > formAtMost || req.Header.Get("Content-Encoding") != "" {
		return nil, req, false
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, req, false
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, formAtMost+1))
	rest = req.Clone(req.Context())
	rest.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), req.Body), req.Body}
	if err != nil || len(body) > formAtMost {
		return nil, rest, false
	}
	form, err = url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") == "" {
		return nil, rest, false
	}
	return form, rest, true
}

// repeatable tells whether a second request of the same identity may be answered with the first one's token. What it says no
// to passes untouched.
func repeatable(req *http.Request, form url.Values, c credential) bool {
	// A client that proves itself in a header, or by the TLS certificate that a host of its own asks for, and a token that
	// is bound to a key: what they share cannot be seen here.
	if req.Header.Get("Authorization") != "" || req.Header.Get("DPoP") != "" || mutualTLS(req.URL.Hostname()) {
		return false
	}
	if tt := form.Get("token_type"); form.Has("req_cnf") || tt != "" && !strings.EqualFold(tt, "Bearer") {
		return false
	}
	for _, values := range form {
		if len(values) != 1 { // RFC 6749 section 3.2: no parameter twice; who reads which?
			return false
		}
	}
	if c.doubtful {
		return false
	}
	proved := form.Get("client_secret") != "" || form.Get("client_assertion") != ""
	switch form.Get("grant_type") {
	case grantClientCredentials, grantUserFIC:
		if !proved {
			return false
		}
	case grantOnBehalfOf:
		if !proved || form.Get("requested_token_use") != "on_behalf_of" {
			return false
		}
	case grantRefreshToken: // a public client has no credential but the refresh token
	default:
		return false
	}
	return true
}

// mutualTLS tells the hosts at which Entra ID asks for a client certificate
// (https://learn.microsoft.com/entra/identity-platform/certificate-credentials; MSAL .NET: mtlsauth.microsoft.com).
func mutualTLS(host string) bool {
	return slices.Contains(strings.Split(strings.ToLower(host), "."), "mtlsauth")
}

// Parameters that are no part of what a request shares as they stand: without meaning, or taken into it in another form.
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
		"code": true, "code_verifier": true, "redirect_uri": true, "device_code": true, "username": true, "password": true, "assertion": true,
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
	case grantClientCredentials:
	case grantOnBehalfOf:
		whose = onBehalfOfParameters
	case grantRefreshToken:
		whose = refreshParameters
	case grantUserFIC:
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
var assertionType = string(layout.HashID("parameter", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))

// terms are what a token is asked for with and does not say itself. Scopes it says.
type terms struct {
	declared string // the client's capabilities, as an entry's
	asked    id     // these, the endpoint, the client, its credential, and parameters
}

func termsOf(req *http.Request, form url.Values, c credential) terms {
	capabilities, _, _ := splitClaims(form.Get("claims"))
	t := terms{declared: cmp.Or(capabilities, serializer.NoCapabilities)}
	t.asked = layout.HashID("asked", append([]string{endpointOf(req.URL), req.URL.RawQuery, strings.ToLower(form.Get("client_id")),
		c.identity, t.declared}, parametersOf(req, form)...)...)
	return t
}

func endpointOf(u *url.URL) string {
	endpoint := *u
	endpoint.RawQuery, endpoint.Fragment, endpoint.User = "", "", nil
	return strings.ToLower(endpoint.String())
}

// newTokenRequest works out a repeatable request's identity: all of it that is not known to be without meaning.
//
// A refresh token's value is not: each use brings another. Where it comes from stands in its place, and so its answer is
// that of the account, or of the on-behalf-of request that it goes on from. What it asks for, where, and by whom, counts as
// it does without a refresh token: one and the same is sent to the endpoints of several tenants.
func (c *Cache) newTokenRequest(req *http.Request, form url.Values, cred credential, via http.RoundTripper) *tokenRequest {
	r := &tokenRequest{
		form: form, endpoint: endpointOf(req.URL), server: req.URL.Host, grant: form.Get("grant_type"), client: form.Get("client_id"),
		scopes: scopesOf(form.Get("scope")).resource(), credential: cred,
		address: req.URL.String(), host: req.Host, header: req.Header.Clone(), via: via,
	}
	r.since = c.clock.elapsed()
	r.realms = c.realms.of(r.endpoint, req.URL.Path)
	r.terms = termsOf(req, form, cred)
	_, challenge, newer := splitClaims(form.Get("claims"))
	r.special = special(req, form)
	if r.grant != grantClientCredentials && !form.Has("client_info") {
		// Who shares the answer may have asked for it.
		r.form = maps.Clone(form)
		r.form.Set("client_info", "1")
	}

	kind, from := r.grant, ""
	switch r.grant {
	case grantClientCredentials:
		r.begun = c.clock.redis()
		for _, realm := range r.realms {
			pid := layout.PartitionID(appKey(serializer.Entry{ClientID: r.client, Realm: realm}))
			r.pids = append(r.pids, pid)
			if p := c.partitions.peek(pid); p != nil {
				if s := p.snap.Load(); s != nil {
					r.known = max(r.known, s.generation)
				}
			}
		}
	case grantOnBehalfOf:
		from = assertionKey(form.Get("assertion"))
	case grantUserFIC:
		r.handover = 60
		from = string(layout.HashID("user", form.Get("user_federated_identity_credential"), form.Get("user_id"), form.Get("username")))
	case grantRefreshToken:
		l, known := c.lineages.of(form.Get("refresh_token"))
		switch {
		case known && l.assertion != "":
			r.lineage, kind, from = &l, grantOnBehalfOf, l.assertion
		case known && l.account != "":
			r.lineage, r.pids, from = &l, []id{l.pid}, string(l.pid)
		case known:
			r.lineage, from = &l, l.first
		default:
			r.handover = 60
			r.begun = c.clock.redis()
			from = hashText(form.Get("refresh_token"))
		}
	}
	r.rid = layout.HashID("request", string(r.asked), kind, from, scopesOf(form.Get("scope")).String())
	r.base = r.rid
	if challenge != "" {
		r.challenge, r.newer = challenge, newer
		r.rid = layout.HashID("challenge", string(r.rid), challenge)
	}
	r.flight = string(r.rid) + " " + r.grant
	return r
}

// special tells whether a request asks for a token of which no record says that it is what it asks for.
func special(req *http.Request, form url.Values) bool {
	return len(scopesOf(form.Get("scope")).resource()) == 0 ||
		slices.ContainsFunc(parametersOf(req, form), func(p string) bool { return p != assertionType })
}

// ofUser tells whether the answer belongs into the record of a user who is known before it comes.
func (r *tokenRequest) ofUser() bool { return r.lineage != nil && r.lineage.account != "" }

// assertionKey is MSAL's key of the assertion on whose behalf the request is; "": on nobody's.
func (r *tokenRequest) assertionKey() string {
	switch {
	case r.grant == grantOnBehalfOf:
		return assertionKey(r.form.Get("assertion"))
	case r.lineage != nil:
		return r.lineage.assertion
	}
	return ""
}
