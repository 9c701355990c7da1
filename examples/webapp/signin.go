package main

import (
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// signInAtMost is how long a user may take at Entra ID.
const signInAtMost = 15 * time.Minute

// beginning is what a sign-in must bring back. The browser keeps it, in a cookie that no script reads and no other
// site's form brings along: whoever asks for /signin without signing in leaves nothing in Redis.
type beginning struct{ state, nonce, verifier string }

func (b beginning) String() string { return b.state + "." + b.nonce + "." + b.verifier }

// begun is what the browser has kept, or nothing.
func (a *app) begun(r *http.Request) (b beginning) {
	name, _ := a.cookie("signin")
	c, err := r.Cookie(name)
	if err != nil {
		return b
	}
	if parts := strings.Split(c.Value, "."); len(parts) == 3 {
		b = beginning{parts[0], parts[1], parts[2]}
	}
	return b
}

func (a *app) signInCookie(value string, maxAge int) *http.Cookie {
	name, secure := a.cookie("signin")
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteLaxMode}
}

// signIn sends the browser to Entra ID. MSAL Go makes the URL without state, nonce (OpenID Connect Core section
// 3.1.2.1) and code challenge (RFC 7636), so they are added.
func (a *app) signIn(w http.ResponseWriter, r *http.Request) {
	target, err := a.tokens.signIn.AuthCodeURL(r.Context(), a.clientID, a.redirectURI(),
		append([]string{oidc.ScopeOpenID, "profile", oidc.ScopeOfflineAccess}, scopes...))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	u, err := url.Parse(target)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	// A verifier is 32 random bytes as text, which is what state and nonce need to be, too.
	begun := beginning{state: oauth2.GenerateVerifier(), nonce: oauth2.GenerateVerifier(),
		verifier: oauth2.GenerateVerifier()}
	http.SetCookie(w, a.signInCookie(begun.String(), int(signInAtMost.Seconds())))
	q := u.Query()
	q.Set("state", begun.state)
	q.Set("nonce", begun.nonce)
	q.Set("code_challenge", oauth2.S256ChallengeFromVerifier(begun.verifier))
	q.Set("code_challenge_method", "S256")
	q.Set("response_mode", "query") // a form that another site posts comes without a SameSite=Lax cookie
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// callback is where Entra ID sends the browser back to, perhaps on another instance than signIn's.
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	begun := a.begun(r)
	http.SetCookie(w, a.signInCookie("", -1)) // it serves once
	q := r.URL.Query()
	if begun.state == "" || subtle.ConstantTimeCompare([]byte(begun.state), []byte(q.Get("state"))) != 1 {
		http.Error(w, "This sign-in was not begun in this browser, or is over. Start again.", http.StatusBadRequest)
		return
	}
	if q.Get("error") != "" {
		http.Error(w, "Entra ID refused the sign-in: "+q.Get("error_description"), http.StatusForbidden)
		return
	}
	result, err := a.tokens.signIn.AcquireTokenByAuthCode(r.Context(), q.Get("code"), a.redirectURI(), scopes,
		confidential.WithChallenge(begun.verifier))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	// MSAL reads the ID token and leaves its nonce to us. The signature is checked because it costs nothing.
	id, err := a.idTokens.Verify(r.Context(), result.IDToken.RawToken)
	if err == nil && subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(begun.nonce)) != 1 {
		err = errors.New("the ID token's nonce is not this sign-in's")
	}
	if err != nil {
		slog.WarnContext(r.Context(), "sign-in refused", "error", err)
		http.Error(w, "This sign-in cannot be trusted. Start again.", http.StatusForbidden)
		return
	}
	mark, err := a.mark(r.Context(), result.Account.HomeAccountID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	// A session that was known before the sign-in must not be worth more after it (session fixation).
	if err := a.sessions.RenewToken(r.Context()); err != nil {
		a.fail(w, r, err)
		return
	}
	a.sessions.Put(r.Context(), keyAccount, result.Account.HomeAccountID)
	a.sessions.Put(r.Context(), keyMark, mark)
	a.sessions.Put(r.Context(), keyName, result.IDToken.Name)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
