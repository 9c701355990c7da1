package entratest

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authCode is the server's side of an authorization code.
type authCode struct {
	user            User
	epoch           int
	client          string
	tenant          string // as in the path
	redirectURI     string
	scope           string
	nonce           string
	claims          string
	challenge       string
	challengeMethod string
	issued          time.Time
	redeemed        bool
}

// AuthorizeCode signs a user in at an authorization URL, as MSAL's AuthCodeURL returns it, and returns the code that
// the browser would have carried to the redirect URI. The request is checked as Entra ID checks it.
func (s *Server) AuthorizeCode(authCodeURL, username string) (code string, err error) {
	u, err := url.Parse(authCodeURL)
	if err != nil {
		return "", fmt.Errorf("entratest: authorization URL: %w", err)
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if rest != "oauth2/v2.0/authorize" {
		return "", errors.New("entratest: not an authorization URL: " + u.Path)
	}
	q := u.Query()
	if _, oerr := s.checkAuthorize(tenant, q); oerr != nil {
		return "", errors.New("entratest: " + oerr.name() + ": " + oerr.message)
	}
	code, oerr := s.issueCode(tenant, q, username)
	if oerr != nil {
		return "", errors.New("entratest: " + oerr.name() + ": " + oerr.message)
	}
	return code, nil
}

// checkAuthorize checks an authorization request (RFC 6749 section 4.1.1). redirectable says whether the error may be
// told to the redirect URI: not before that one is known to be the client's (section 4.1.2.1).
func (s *Server) checkAuthorize(tenant string, q url.Values) (redirectable bool, oerr *oauthError) {
	if !isMultiTenant(tenant) {
		if _, oerr := s.resolveTenant(tenant); oerr != nil {
			return false, oerr
		}
	}
	app, ok := s.lookupApp(q.Get("client_id"))
	switch {
	case q.Get("client_id") == "":
		return false, missing("client_id")
	case !ok:
		return false, unknownApp(q.Get("client_id"), tenant)
	case !app.allowsRedirect(q.Get("redirect_uri")):
		return false, errorf(invalidRequest, 50011, "The redirect URI '%s' specified in the request does not match the "+
			"redirect URIs configured for the application '%s'.", q.Get("redirect_uri"), app.ClientID)
	case q.Get("response_type") != "code":
		return true, errorf("unsupported_response_type", 700054, "response_type '%s' is not enabled for the application.",
			q.Get("response_type"))
	case q.Get("scope") == "":
		return true, missing("scope")
	}
	scopes, oerr := parseScopes(q.Get("scope"))
	if oerr == nil {
		oerr = app.consented(scopes)
	}
	if oerr != nil {
		return true, oerr
	}
	switch method := q.Get("code_challenge_method"); {
	case q.Get("code_challenge") == "":
		return true, nil
	case method != "S256" && method != "plain" && method != "":
		return true, errorf(invalidRequest, 501491, "Invalid code_challenge_method '%s'.", method)
	case method == "S256" && len(q.Get("code_challenge")) != 43: // base64url of 32 bytes, RFC 7636 section 4.2
		return true, errorf(invalidRequest, 501491, "Invalid size of Code_Challenge parameter.")
	}
	return true, nil
}

func (s *Server) issueCode(tenant string, q url.Values, username string) (string, *oauthError) {
	u, epoch, oerr := s.signIn(username)
	if oerr != nil {
		return "", oerr
	}
	code := s.issued(opaque(codeBytes))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = &authCode{
		user: u, epoch: epoch, client: q.Get("client_id"), tenant: tenant,
		redirectURI: q.Get("redirect_uri"), scope: q.Get("scope"), nonce: q.Get("nonce"), claims: q.Get("claims"),
		challenge: q.Get("code_challenge"), challengeMethod: q.Get("code_challenge_method"), issued: time.Now(),
	}
	return code, nil
}

// serveAuthorize is the page a browser opens. With login_hint it signs that user in at once; without, it lists the
// users.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	setHeaders(w, r)
	q, tenant := r.URL.Query(), r.PathValue("tenant")
	redirectable, oerr := s.checkAuthorize(tenant, q)
	if oerr != nil && !redirectable {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "<p>%s: %s", oerr.name(), template.HTMLEscapeString(oerr.message))
		return
	}
	hint := q.Get("login_hint")
	if oerr == nil && hint == "" {
		s.serveAccountPicker(w, q)
		return
	}
	back := url.Values{}
	if oerr == nil {
		var code string
		if code, oerr = s.issueCode(tenant, q, hint); oerr == nil {
			back.Set("code", code)
		}
	}
	if oerr != nil {
		back.Set("error", oerr.code)
		back.Set("error_description", oerr.name()+": "+oerr.message)
	}
	if state := q.Get("state"); state != "" {
		back.Set("state", state)
	}
	redirectBack(w, r, q, back)
}

var formPost = template.Must(template.New("form_post").Parse(
	`<!DOCTYPE html><title>Working...</title><form method="POST" action="{{.Action}}">` +
		`{{range $name, $values := .Fields}}<input type="hidden" name="{{$name}}" value="{{index $values 0}}">{{end}}` +
		`<noscript><button>Continue</button></noscript></form><script>document.forms[0].submit()</script>`))

// redirectBack returns to the redirect URI in the response_mode asked for. MSAL's interactive sign-in wants form_post
// (base.go, AuthCodeURL); a web app usually the query.
func redirectBack(w http.ResponseWriter, r *http.Request, q, back url.Values) {
	target := q.Get("redirect_uri")
	switch q.Get("response_mode") {
	case "form_post":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = formPost.Execute(w, map[string]any{"Action": template.URL(target), "Fields": back}) // the browser may have left
		return
	case "fragment":
		target += "#" + back.Encode()
	default:
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + back.Encode()
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusFound)
}

var accountPicker = template.Must(template.New("picker").Parse(
	`<!DOCTYPE html><title>Pick an account</title><h1>Pick an account</h1><ul>` +
		`{{range .}}<li><a href="{{.Link}}">{{.Name}}</a>{{end}}</ul>`))

func (s *Server) serveAccountPicker(w http.ResponseWriter, q url.Values) {
	type choice struct{ Name, Link string }
	var choices []choice
	s.mu.Lock()
	for name, u := range s.users {
		if name == strings.ToLower(u.Username) {
			q.Set("login_hint", u.Username)
			choices = append(choices, choice{u.Username, "?" + q.Encode()})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(choices, func(a, b choice) int { return strings.Compare(a.Name, b.Name) })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = accountPicker.Execute(w, choices) // the browser may have left
}
