package tokenreq

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Credential is what a client proves itself with in the form of a token request.
type Credential struct {
	Exact    string // of these very bytes: what was refused of one says nothing of another
	identity string // the same for all whom the endpoint takes for one another
	doubtful bool   // an endpoint must refuse it: the answers that others got must not stand in for that
}

func credentialOf(form url.Values, now time.Time) Credential {
	secret, assertion := form.Get("client_secret"), form.Get("client_assertion")
	who, ok := assertionIdentity(assertion, now)
	return Credential{
		Exact:    string(layout.HashID("exact credential", secret, assertion)),
		identity: string(layout.HashID("credential", secret, who)),
		doubtful: !ok,
	}
}

// varies are the claims of a client assertion that differ from one to the next without meaning: times, its id, and on
// Kubernetes the name and uid of the pod, whose namespace and service account stand in sub
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens).
// Flexible federated credentials match on any other.
var varies = map[string]bool{"exp": true, "iat": true, "nbf": true, "jti": true, "kubernetes.io": true}

// variesAtEntra are more of them in tokens that Entra ID itself has issued, as a managed identity's that serves as a
// federated credential: ids and records of its own
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
var variesAtEntra = map[string]bool{"aio": true, "rh": true, "uti": true, "xms_ftd": true, "xms_st": true}

// ofEntra tells whether Entra ID is an issuer.
func ofEntra(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && u.Scheme == "https" && clouds[strings.ToLower(u.Host)] != ""
}

// assertionIdentity is what stays the same of a client assertion (RFC 7523): its claims but those that vary, and the
// certificate. kid varies too: issuers change their keys. One that is no JWT, or does not say who vouches for whom and
// until when, counts whole: an endpoint may refuse it. ok is false of one that an endpoint must refuse: unsigned,
// expired, or not valid yet.
func assertionIdentity(assertion string, now time.Time) (identity string, ok bool) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return assertion, true
	}
	head, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	body, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	if err1 != nil || err2 != nil || !gjson.ValidBytes(head) || !gjson.ValidBytes(body) {
		return assertion, true
	}
	h, claims := gjson.ParseBytes(head), gjson.ParseBytes(body)
	if !h.IsObject() || !claims.IsObject() || !unambiguous(h) || !unambiguous(claims) {
		return assertion, true
	}
	if alg := h.Get("alg").Str; alg == "" || strings.EqualFold(alg, "none") || parts[2] == "" || !validAt(claims, now) {
		return assertion, false
	}
	for _, name := range []string{"iss", "sub", "aud", "exp"} {
		if !claims.Get(name).Exists() {
			return assertion, true
		}
	}
	said := []string{h.Get("x5t").Raw, h.Get(`x5t\#S256`).Raw, h.Get("x5c.0").Raw}
	all, entra := claims.Map(), ofEntra(claims.Get("iss").Str)
	names := make([]string, 0, len(all))
	for name := range all {
		if !varies[name] && (!entra || !variesAtEntra[name]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		said = append(said, name, all[name].Raw)
	}
	return string(layout.HashID("assertion", said...)), true
}

// validAt tells whether a token is within its times (RFC 7519, sections 4.1.4 and 4.1.5). A time that is no number is
// for the endpoint to judge.
func validAt(claims gjson.Result, now time.Time) bool {
	seconds := float64(now.UnixMilli()) / 1000
	exp, nbf := claims.Get("exp"), claims.Get("nbf")
	switch {
	case exp.Exists() && (exp.Type != gjson.Number || exp.Num <= seconds):
		return false
	case nbf.Exists() && (nbf.Type != gjson.Number || nbf.Num > seconds):
		return false
	}
	return true
}

// unambiguous tells whether no object within has a member twice: readers differ in which they take.
func unambiguous(v gjson.Result) bool {
	if !v.IsObject() && !v.IsArray() {
		return true
	}
	seen, ok := map[string]bool{}, true
	v.ForEach(func(key, member gjson.Result) bool {
		ok = (!v.IsObject() || !seen[key.Str]) && unambiguous(member)
		seen[key.Str] = true
		return ok
	})
	return ok
}
