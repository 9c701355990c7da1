package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// world is what the instances of a demonstration talk to: Redis, Entra ID, Dataverse and Graph. What the environment
// names is taken from there; the rest is emulated in this process.
type world struct {
	env   []string          // the app settings
	entra *entratest.Server // nil: the real one
	calls atomic.Int64      // of the emulated APIs with a valid token
	undo  []func()
}

func newWorld(env func(string) string) (*world, error) {
	w := &world{}
	if err := w.build(env); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) build(env func(string) string) error {
	set := func(name, value string) { w.env = append(w.env, name+"="+value) }
	switch {
	case env("REDIS_URL") != "":
		set("REDIS_URL", env("REDIS_URL"))
	default:
		embedded := miniredis.NewMiniRedis()
		if err := embedded.StartAddr("127.0.0.1:0"); err != nil {
			return err
		}
		w.undo = append(w.undo, embedded.Close)
		embedded.ClockTTL(true) // a killed leader's lease ends by its time to live; without this, never
		set("REDIS_URL", "redis://"+embedded.Addr())
	}
	if env("TOKEN_CACHE_KEYS") != "" {
		set("TOKEN_CACHE_KEYS", env("TOKEN_CACHE_KEYS"))
	} else {
		key, err := serializer.GenerateKey("demo")
		if err != nil {
			return err
		}
		set("TOKEN_CACHE_KEYS", key.Export())
	}
	if env("AZURE_CLIENT_ID") != "" {
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "DATAVERSE_URL", "GRAPH_URL"} {
			set(name, env(name))
		}
		return nil
	}
	entra, err := entratest.NewServer(nil)
	if err != nil {
		return err
	}
	w.entra = entra
	w.undo = append(w.undo, func() { _ = entra.Close() })
	const clientID, secret = "a2f00000-0000-4000-8000-000000000001", "known to everybody"
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	set("AZURE_TENANT_ID", entratest.DefaultTenant)
	set("AZURE_CLIENT_ID", clientID)
	set("AZURE_CLIENT_SECRET", secret)
	set("ENTRATEST_HOST", entra.Host())
	set("ENTRATEST_CA", string(entra.CAPEM()))
	set("DATAVERSE_URL", w.serveAPI("GET /api/data/v9.2/accounts", "name", "Contoso", "Fabrikam"))
	set("GRAPH_URL", w.serveAPI("GET /v1.0/users", "displayName", "Ada Lovelace", "Grace Hopper", "Radia Perlman"))
	return nil
}

// serveAPI is a resource of one collection, for those who have a valid token for it.
func (w *world) serveAPI(pattern, property string, names ...string) (url string) {
	var check *oidc.IDTokenVerifier
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(out http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := check.Verify(r.Context(), token); !found || err != nil {
			out.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(out, "no valid token", http.StatusUnauthorized)
			return
		}
		w.calls.Add(1)
		values := []map[string]string{}
		for _, name := range names {
			values = append(values, map[string]string{property: name})
		}
		_ = json.NewEncoder(out).Encode(map[string]any{"value": values}) // the client may have been killed
	})
	server := httptest.NewServer(mux)
	w.undo = append(w.undo, server.Close)
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), w.entra.HTTPClient()),
		w.entra.URL()+"/"+entratest.DefaultTenant+"/discovery/v2.0/keys")
	check = oidc.NewVerifier(fmt.Sprintf("https://login.microsoftonline.com/%s/v2.0", entratest.DefaultTenant), keys,
		&oidc.Config{ClientID: server.URL})
	return server.URL
}

func (w *world) close() {
	for i := len(w.undo) - 1; i >= 0; i-- {
		w.undo[i]()
	}
}
