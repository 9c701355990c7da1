package main

import (
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// The second start finds the first one's token.
func TestSecondStartAsksNothing(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		entra, err := entratest.NewServer(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer entra.Close()
		const client, secret = "3eba9900-0000-4000-8000-000000000003", "known to everybody"
		entra.AddApp(entratest.App{ClientID: client, Secret: secret})
		key, err := serializer.GenerateKey("k")
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{
			"AZURE_TENANT_ID": entratest.DefaultTenant, "AZURE_CLIENT_ID": client, "AZURE_CLIENT_SECRET": secret,
			"REDIS_URL": url, "TOKEN_CACHE_KEYS": key.Export(),
		}
		get := func(name string) string { return env[name] }
		for _, want := range []string{"from Entra ID", "from the shared cache"} {
			var out strings.Builder
			if err := run(t.Context(), get, entra.Transport(), &out); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q, and not a token %s", &out, want)
			}
		}
		if n := entra.Count(); n != 1 {
			t.Errorf("%d token requests", n)
		}
		delete(env, "REDIS_URL")
		if err := run(t.Context(), get, entra.Transport(), nil); err == nil || !strings.Contains(err.Error(), "REDIS_URL") {
			t.Errorf("without REDIS_URL: %v", err)
		}
	})
}
