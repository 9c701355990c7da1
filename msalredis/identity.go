package msalredis

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

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
	form     url.Values
	endpoint string // without query
	grant    string
	client   string
	scopes   scopes // without those MSAL adds
	realms   []string

	// challenge is the hash of claims beyond capabilities: a resource has refused what there was. Nothing older
	// than the request answers it.
	challenge string
	// newer: the challenge asks for nothing but a later token, as that of continuous access evaluation does; its answer is what
	// there was, renewed (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
	newer bool

	rid id // whose answer this is
	// base is the identity without the challenge, whose answer a challenge's success replaces.
	base id
	// handover bounds how long an answer serves others; 0: its token's useful life.
	handover int64 // seconds
	flight   string

	lineage *lineage // of the refresh token, where known
	pids    []id     // what a removal must find this by: an app's partition under each name of its tenant; none: known from the answer
	begun   int64    // when MSAL sent it, in microseconds of Redis time
	known   int64    // the latest generation of pids then, as far as this process knew

	// Copies: a flight may go on when RoundTrip has returned, and its caller has the request back.
	address string
	header  http.Header
	via     http.RoundTripper
}

// readForm reads the form of a request to a token endpoint. ok is false where the gate has nothing to say to the
// request; what was read of its body is put back into rest.
func readForm(req *http.Request) (form url.Values, rest *http.Request, ok bool) {
	if req.Method != http.MethodPost || req.Body == nil || req.ContentLength > formAtMost {
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

// repeatable tells whether a second request of the same identity may be answered with the first one's token.
func repeatable(form url.Values) bool {
	// Bound to a key of the caller's: only it can use the token.
	if tt := form.Get("token_type"); form.Has("req_cnf") || tt != "" && !strings.EqualFold(tt, "Bearer") {
		return false
	}
	switch form.Get("grant_type") {
	case grantClientCredentials:
		// With neither, the credential is the TLS client certificate, which the gate does not see.
		return form.Get("client_secret") != "" || form.Get("client_assertion") != ""
	case grantOnBehalfOf:
		return form.Get("requested_token_use") == "on_behalf_of"
	case grantRefreshToken, grantUserFIC:
		return true
	}
	return false
}

// left out of the identity: they vary without meaning, or are taken into it in another form.
var notIdentity = map[string]bool{
	"client_info": true, "client-request-id": true, "return-client-request-id": true, "x-client-sku": true,
	"x-client-ver": true, "x-client-os": true, "x-client-cpu": true, "x-client-current-telemetry": true,
	"x-client-last-telemetry": true, "scope": true, "claims": true, "client_secret": true, "client_assertion": true,
	"refresh_token": true,
}

// newTokenRequest works out a repeatable request's identity.
func (c *Cache) newTokenRequest(req *http.Request, form url.Values, via http.RoundTripper) *tokenRequest {
	endpoint := *req.URL
	endpoint.RawQuery, endpoint.Fragment, endpoint.User = "", "", nil
	r := &tokenRequest{
		form: form, endpoint: strings.ToLower(endpoint.String()), grant: form.Get("grant_type"),
		client: form.Get("client_id"), scopes: scopesOf(form.Get("scope")).resource(),
		address: req.URL.String(), header: req.Header.Clone(), via: via,
	}
	r.realms = c.realms.of(r.endpoint, req.URL.Path)

	parts := []string{r.endpoint, r.grant, r.client, scopesOf(form.Get("scope")).String()}
	names := make([]string, 0, len(form))
	for name := range form {
		if !notIdentity[strings.ToLower(name)] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		parts = append(parts, name, strings.Join(form[name], "\x00"))
	}
	parts = append(parts, "secret", form.Get("client_secret"), "assertion", assertionIdentity(form.Get("client_assertion")))
	capabilities, challenge, newer := splitClaims(form.Get("claims"))
	parts = append(parts, "capabilities", capabilities)
	if req.URL.RawQuery != "" {
		parts = append(parts, "query", req.URL.RawQuery)
	}

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
	case grantUserFIC:
		r.handover = 60
	case grantRefreshToken:
		token := form.Get("refresh_token")
		l, known := c.lineages.of(token)
		switch {
		case known && l.rid != "" && l.scopes == r.scopes.String():
			// An on-behalf-of token's: the answer is the on-behalf-of request's next one.
			r.lineage, r.rid = &l, l.rid
		case known && l.rid == "":
			// A user's: each use brings a new refresh token, so the identity is whose it is.
			r.lineage, r.pids = &l, []id{l.pid}
			parts = append(parts, "lineage", string(l.pid))
		default:
			r.handover = 60
			r.begun = c.clock.redis()
			parts = append(parts, "refresh token", token)
		}
	}
	if r.rid == "" {
		r.rid = layout.HashID("request", parts...)
	}
	r.base = r.rid
	if challenge != "" {
		r.challenge, r.newer = challenge, newer
		r.rid = layout.HashID("challenge", string(r.rid), challenge)
	}
	r.flight = string(r.rid) + " " + r.grant
	return r
}

// assertionIdentity is what stays the same of a client assertion: who vouches for whom, and the certificate. Times and
// ids differ in each, and kid varies without meaning. One that is no JWT counts whole.
func assertionIdentity(assertion string) string {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return assertion
	}
	head, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	claims, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	if err1 != nil || err2 != nil || !gjson.ValidBytes(head) || !gjson.ValidBytes(claims) {
		return assertion
	}
	h, b := gjson.ParseBytes(head), gjson.ParseBytes(claims)
	id, _ := json.Marshal([]string{b.Get("iss").Raw, b.Get("sub").Raw, b.Get("aud").Raw, h.Get("x5t").Raw, h.Get(`x5t\#S256`).Raw})
	return string(id)
}

// splitClaims tells capabilities, which CAE clients send with every request, from a challenge. newer: it names but the time
// from which on a token must be valid.
func splitClaims(text string) (capabilities, challenge string, newer bool) {
	if text == "" {
		return "", "", false
	}
	var claims map[string]any
	if json.Unmarshal([]byte(text), &claims) != nil {
		return "", string(layout.HashID("claims", text)), false
	}
	if access, ok := claims["access_token"].(map[string]any); ok {
		if cc, ok := access["xms_cc"]; ok {
			b, _ := json.Marshal(cc)
			capabilities = string(b)
			delete(access, "xms_cc")
		}
		if len(access) == 0 {
			delete(claims, "access_token")
		}
		newer = len(claims) == 1 && len(access) == 1 && access["nbf"] != nil
	}
	if len(claims) == 0 {
		return capabilities, "", false
	}
	b, _ := json.Marshal(claims) // maps marshal with sorted keys
	return capabilities, string(layout.HashID("claims", string(b))), newer
}
