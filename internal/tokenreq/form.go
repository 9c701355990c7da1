package tokenreq

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Grants that can be repeated, and so shared (MSAL: oauth/ops/internal/grant).
const (
	GrantClientCredentials = "client_credentials"
	GrantOnBehalfOf        = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	GrantRefreshToken      = "refresh_token"
	GrantUserFIC           = "user_fic"
)

// formAtMost bounds the request body that is read. An assertion with many groups has some 10 KB.
const formAtMost = 256 << 10

// ReadForm reads the form of a request to a token endpoint. ok is false where there is none that could be understood;
// what was read of the request's body is put back into rest.
func ReadForm(req *http.Request) (form url.Values, rest *http.Request, ok bool) {
	if req.Method != http.MethodPost || req.Body == nil || req.ContentLength > formAtMost ||
		req.Header.Get("Content-Encoding") != "" {
		return nil, req, false
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil ||
		kind != "application/x-www-form-urlencoded" {
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
	// A parsed value is a part of the body, and who remembers one, such as the grant of an answer, would keep all of it:
	// the client's secret too.
	for _, values := range form {
		for i, v := range values {
			values[i] = strings.Clone(v)
		}
	}
	return form, rest, true
}

// kindOf is the kind of a request as far as it says so itself: where a refresh token comes from it does not. A second
// request of the same identity may be answered with the first one's token, unless the kind is Untouched or SignIn.
func kindOf(req *http.Request, form url.Values, c Credential) Kind {
	if alone(req, form) || c.doubtful {
		return passing(form)
	}
	proved := form.Get("client_secret") != "" || form.Get("client_assertion") != ""
	switch form.Get("grant_type") {
	case GrantClientCredentials:
		if proved {
			return App
		}
	case GrantUserFIC:
		if proved {
			return UserFIC
		}
	case GrantOnBehalfOf:
		if proved && form.Get("requested_token_use") == "on_behalf_of" {
			return OnBehalfOf
		}
	case GrantRefreshToken: // a public client has no credential but the refresh token
		return UnknownRefresh
	}
	return passing(form)
}

// passing is the kind of a request whose answer is not shared. What others got must not stand in for that; the user of
// a sign-in may be known by its tokens later.
func passing(form url.Values) Kind {
	switch form.Get("grant_type") {
	case GrantClientCredentials, GrantOnBehalfOf, GrantRefreshToken:
		return Untouched
	}
	if form.Has("req_cnf") {
		return Untouched
	}
	return SignIn
}

// alone tells of a request that proves itself, or asks for something, where this package does not look.
func alone(req *http.Request, form url.Values) bool {
	// A client that proves itself in a header, or by the TLS certificate that a host of its own asks for, and a token that
	// is bound to a key: what they share cannot be seen here.
	if req.Header.Get("Authorization") != "" || req.Header.Get("DPoP") != "" || mutualTLS(req.URL.Hostname()) {
		return true
	}
	if tt := form.Get("token_type"); form.Has("req_cnf") || tt != "" && !strings.EqualFold(tt, "Bearer") {
		return true
	}
	for _, values := range form {
		if len(values) != 1 { // RFC 6749 section 3.2: no parameter twice; who reads which?
			return true
		}
	}
	return false
}

// mutualTLS tells the hosts at which Entra ID asks for a client certificate
// (https://learn.microsoft.com/entra/identity-platform/certificate-credentials; MSAL .NET: mtlsauth.microsoft.com).
func mutualTLS(host string) bool {
	return slices.Contains(strings.Split(strings.ToLower(host), "."), "mtlsauth")
}
