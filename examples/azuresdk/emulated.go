package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "azuresdk",
	Help: `Reads a secret of a Key Vault in two processes, each with two credentials. Entra
ID, Redis and the Key Vault are emulated; with these variables it is one process
with the real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration, which may read the vault's secrets
                    (Key Vault Secrets User)
  KEY_VAULT_URL     as in https://contoso.vault.azure.net
  KEY_VAULT_SECRET  the secret's name
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "KEY_VAULT_URL", "KEY_VAULT_SECRET"},
	Emulate:  (&vault{}).serve,
	Run:      func(ctx context.Context, out io.Writer, w *standin.World) error { return w.Processes(ctx, out, 2) },
	Cache:    &options,
}

const vaultHost = "contoso.vault.azure.net"

// vault is a Key Vault with one secret. It asks for a token as Key Vault does, which clients meet with their first
// request: https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
type vault struct{ reads atomic.Int64 } // with a valid token

func (v *vault) serve(w *standin.World) error {
	w.Set("KEY_VAULT_URL", "https://"+vaultHost)
	w.Set("KEY_VAULT_SECRET", "database-password")
	const audience = "https://vault.azure.net"
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), w.Entra.HTTPClient()),
		w.Entra.URL()+"/"+entratest.DefaultTenant+"/discovery/v2.0/keys")
	check := oidc.NewVerifier("https://login.microsoftonline.com/"+entratest.DefaultTenant+"/v2.0", keys,
		&oidc.Config{ClientID: audience})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /secrets/database-password/", func(out http.ResponseWriter, r *http.Request) {
		out.Header().Set("Content-Type", "application/json; charset=utf-8")
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := check.Verify(r.Context(), token); err != nil {
			out.Header().Set("WWW-Authenticate",
				fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`,
					entratest.DefaultTenant, audience))
			out.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(out, `{"error":{"code":"Unauthorized","message":"AKV10000: Request is missing a Bearer or PoP token."}}`)
			return
		}
		v.reads.Add(1)
		fmt.Fprintf(out, `{"value":"not a real password",`+
			`"id":"https://%s/secrets/database-password/4387e9f3d6e14c459867679a90fd0f79","attributes":{"enabled":true}}`,
			vaultHost)
	})
	return w.Serve(map[string]http.Handler{vaultHost: mux})
}
