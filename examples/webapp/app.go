package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
)

// app is one instance of the web application. It keeps nothing that another one would miss: sessions and tokens are
// in Redis.
type app struct {
	settings
	name     string
	rdb      redis.UniversalClient
	tokens   *tokens
	sessions *scs.SessionManager
	idTokens *oidc.IDTokenVerifier
	api      *http.Client
}

// What a session holds: who is signed in. No token.
const (
	keyAccount = "account" // MSAL's home account ID
	keyName    = "name"
	keyMark    = "mark" // see mark
)

func newApp(name string, s settings) (*app, error) {
	rdb, err := connect.Open(s.redisURL, nil)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	a := &app{settings: s, name: name, rdb: rdb, api: &http.Client{Timeout: 30 * time.Second}}
	if a.tokens, err = newTokens(a.rdb, s); err != nil {
		a.rdb.Close()
		return nil, err
	}
	a.sessions = scs.New()
	a.sessions.Store = sessionStore{a.rdb}
	a.sessions.HashTokenInStore = true // who reads Redis cannot take a session over
	a.sessions.Lifetime, a.sessions.IdleTimeout = 12*time.Hour, time.Hour
	a.sessions.Cookie.Name, a.sessions.Cookie.Secure = a.cookie("session")
	keys := oidc.ClientContext(context.Background(), &http.Client{Timeout: 10 * time.Second})
	authority := login + "/" + s.tenant
	a.idTokens = oidc.NewVerifier(authority+"/v2.0", oidc.NewRemoteKeySet(keys, authority+"/discovery/v2.0/keys"),
		&oidc.Config{ClientID: s.clientID})
	return a, nil
}

func (a *app) close() {
	a.tokens.close()
	_ = a.rdb.Close()
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /signin", a.signIn)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("GET /me", a.me)
	mux.HandleFunc("POST /signout", a.signOut)
	// The session's cookie is SameSite=Lax; this also refuses what browsers say comes from elsewhere.
	handler := http.NewCrossOriginProtection().Handler(a.sessions.LoadAndSave(mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", a.name) // for the demonstration
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		handler.ServeHTTP(w, r)
	})
}

var homePage = template.Must(template.New("home").Parse(`<!DOCTYPE html><title>webapp</title>
{{if .Name}}<h1 id="user">{{.Name}}</h1>
<p>answered by <b id="instance">{{.Instance}}</b>; <a id="me" href="/me">what Graph says</a>
<form method="POST" action="/signout"><button id="signout">Sign out</button></form>
{{else}}<h1>Nobody is signed in</h1>
<p>answered by <b id="instance">{{.Instance}}</b>; <a id="signin" href="/signin">sign in</a>
{{end}}`))

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	name := ""
	switch _, err := a.token(r.Context()); {
	case err == nil:
		name = a.sessions.GetString(r.Context(), keyName)
	case !errors.Is(err, errSignIn):
		a.fail(w, r, err)
		return
	}
	_ = homePage.Execute(w, struct{ Name, Instance string }{name, a.name}) // the browser may have left
}

// me answers with what Graph says of the user: a silent call.
func (a *app) me(w http.ResponseWriter, r *http.Request) {
	token, err := a.token(r.Context())
	if errors.Is(err, errSignIn) {
		http.Error(w, "sign in", http.StatusUnauthorized)
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	me, err := a.get(r.Context(), "/v1.0/me", token)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(me) // the browser may have left
}

func (a *app) get(ctx context.Context, path, token string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+graphHost+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := a.api.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return body, err
}

// cookie is the full name of a cookie, and whether it is for https alone. Browsers take a name that begins with __Host-
// from nobody but this host, over https: no neighbouring domain can put one in its place.
func (a *app) cookie(name string) (full string, secure bool) {
	if strings.HasPrefix(a.publicURL, "https://") {
		return "__Host-" + name, true
	}
	return name, false
}

func (a *app) redirectURI() string { return a.publicURL + "/callback" }

func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	slog.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "instance", a.name, "error", err)
	http.Error(w, "That did not work. Try again in a moment.", http.StatusBadGateway)
}
