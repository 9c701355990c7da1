package main

import (
	"net/http"
	"strings"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

// world is what the instances talk to. What the environment names is taken from there; the rest is emulated.
type world struct {
	*standin.World
	settings settings
}

// newWorld makes a world; redisURL is, for tests, the Redis of one that is emulated.
func newWorld(publicURL string, env func(string) string, redisURL string) (*world, error) {
	if url := env("PUBLIC_URL"); url != "" {
		publicURL = strings.TrimSuffix(url, "/")
	}
	w, err := standin.Open(standin.Example{
		Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"}, RedisURL: redisURL,
		Emulate: func(w *standin.World) error { return emulate(w, publicURL+"/callback") },
	}, env)
	if err != nil {
		return nil, err
	}
	s := settings{
		redisURL: w.Getenv("REDIS_URL"), keys: w.Getenv("TOKEN_CACHE_KEYS"),
		tenant: w.Getenv("AZURE_TENANT_ID"), clientID: w.Getenv("AZURE_CLIENT_ID"), secret: w.Getenv("AZURE_CLIENT_SECRET"),
		publicURL: publicURL, network: w.Network, cacheOptions: w.CacheOptions,
	}
	if w.Entra != nil {
		s.loginURL = publicURL // see front
	}
	return &world{w, s}, nil
}

// emulate makes the app one that signs in Ada and Grace, and is Graph as far as the app knows it: it tells them who
// they are.
func emulate(w *standin.World, redirectURI string) error {
	w.Entra.AddApp(entratest.App{ClientID: w.Getenv("AZURE_CLIENT_ID"), Secret: w.Getenv("AZURE_CLIENT_SECRET"),
		RedirectURIs: []string{redirectURI}})
	w.Entra.AddUser(entratest.User{Username: "ada@contoso.com", Name: "Ada Lovelace"})
	w.Entra.AddUser(entratest.User{Username: "grace@contoso.com", Name: "Grace Hopper"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.0/me", func(out http.ResponseWriter, r *http.Request) {
		c := standin.CallerOf(r)
		standin.JSON(out, map[string]string{"displayName": c.Name, "userPrincipalName": c.Username})
	})
	return w.Serve(map[string]http.Handler{
		graphHost: standin.Guard{Entra: w.Entra, Audience: "https://" + graphHost}.Wrap(mux),
	})
}
