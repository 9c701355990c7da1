package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// world is what the instances talk to. What the environment names is taken from there; the rest is emulated.
type world struct {
	settings settings
	entra    *entratest.Server // nil: the real one
	graph    atomic.Int64      // calls of the emulated Graph with a valid token
	undo     []func()
}

func newWorld(publicURL string, env func(string) string) (*world, error) {
	w := &world{settings: settings{
		redisURL: env("REDIS_URL"), keys: env("TOKEN_CACHE_KEYS"),
		tenant: env("AZURE_TENANT_ID"), clientID: env("AZURE_CLIENT_ID"), secret: env("AZURE_CLIENT_SECRET"),
		publicURL: publicURL, graphURL: "https://graph.microsoft.com",
	}}
	if err := w.build(env); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) build(env func(string) string) error {
	s := &w.settings
	if url := env("PUBLIC_URL"); url != "" {
		s.publicURL = strings.TrimSuffix(url, "/")
	}
	if s.redisURL == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.StartAddr("127.0.0.1:0"); err != nil {
			return err
		}
		w.undo = append(w.undo, embedded.Close)
		embedded.ClockTTL(true) // what expires does so by its time to live; without this, never
		s.redisURL = "redis://" + embedded.Addr()
	}
	if s.keys == "" {
		if env("REDIS_URL") != "" && s.clientID != "" {
			return errors.New("TOKEN_CACHE_KEYS is missing: instances elsewhere must have the same")
		}
		key, err := serializer.GenerateKey("demo")
		if err != nil {
			return err
		}
		s.keys = key.Export()
	}
	if s.clientID != "" {
		if s.tenant == "" || s.secret == "" {
			return errors.New("AZURE_CLIENT_ID needs AZURE_TENANT_ID and AZURE_CLIENT_SECRET")
		}
		return nil
	}
	entra, err := entratest.NewServer(nil)
	if err != nil {
		return err
	}
	w.entra = entra
	w.undo = append(w.undo, func() { _ = entra.Close() })
	s.tenant, s.clientID, s.secret = entratest.DefaultTenant, "3eba9900-0000-4000-8000-000000000001", "known to everybody"
	s.entra, s.loginURL = entra.Transport(), s.publicURL // see front
	// Here all instances share a few processors with Redis and Entra ID, and the default of 250 ms may pass before one
	// gets its turn. A service need not set this.
	s.opTimeout = 10 * time.Second
	entra.AddApp(entratest.App{ClientID: s.clientID, Secret: s.secret, RedirectURIs: []string{s.publicURL + "/callback"}})
	entra.AddUser(entratest.User{Username: "ada@contoso.com", Name: "Ada Lovelace"})
	entra.AddUser(entratest.User{Username: "grace@contoso.com", Name: "Grace Hopper"})
	s.graphURL = w.serveGraph()
	return nil
}

// serveGraph is Graph as far as the app knows it: it tells those with a valid token who they are.
func (w *world) serveGraph() (url string) {
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), w.entra.HTTPClient()),
		w.entra.URL()+"/"+entratest.DefaultTenant+"/discovery/v2.0/keys")
	check := oidc.NewVerifier("https://login.microsoftonline.com/"+entratest.DefaultTenant+"/v2.0", keys,
		&oidc.Config{ClientID: "https://graph.microsoft.com"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.0/me", func(out http.ResponseWriter, r *http.Request) {
		var claims struct {
			Name string `json:"name"`
			User string `json:"preferred_username"`
		}
		text, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := check.Verify(r.Context(), text)
		if err == nil {
			err = token.Claims(&claims)
		}
		if !found || err != nil {
			http.Error(out, "no valid token", http.StatusUnauthorized)
			return
		}
		w.graph.Add(1)
		_ = json.NewEncoder(out).Encode(map[string]string{"displayName": claims.Name, "userPrincipalName": claims.User})
	})
	server := httptest.NewServer(mux)
	w.undo = append(w.undo, server.Close)
	return server.URL
}

func (w *world) close() {
	for i := len(w.undo) - 1; i >= 0; i-- {
		w.undo[i]()
	}
}
