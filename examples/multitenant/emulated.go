package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "multitenant",
	Help: `A daemon for hundreds of tenants, as several instances that share their tokens.
Entra ID, Redis and Graph are emulated, unless the environment names real ones:

  AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration: multitenant, with Graph's application
                    permission Organization.Read.All
  AZURE_TENANT_IDS  the tenants whose administrators have consented, separated
                    by commas
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances: 2026a: and the
                    output of openssl rand -base64 32`,
	Settings: []string{"AZURE_CLIENT_SECRET", "AZURE_TENANT_IDS"},
	Emulate:  func(w *standin.World) error { return emulate(w, 200) },
	Run:      func(ctx context.Context, out io.Writer, _ *standin.World) error { return run(ctx, out) },
	Cache:    &options,
}

// emulate stands up Graph in every cloud, and n tenants, of which the last has removed the app.
func emulate(w *standin.World, n int) error {
	tenants := make([]string, n)
	for i := range tenants {
		tenants[i] = uuid.NewString()
	}
	w.Set("AZURE_TENANT_IDS", strings.Join(tenants, ","))
	w.Entra.AddFault(entratest.Fault{Match: entratest.ByTenant(tenants[n-1]), Status: http.StatusBadRequest,
		Body: entratest.ErrorBody("unauthorized_client", 700016,
			"Application was not found in the directory. This can happen if the "+
				"application has not been installed by the administrator of the tenant or consented to by any "+
				"user in the tenant.")})
	apis := map[string]http.Handler{}
	for _, c := range clouds {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1.0/organization", func(out http.ResponseWriter, r *http.Request) {
			tenant := standin.CallerOf(r).Tenant
			standin.JSON(out, map[string]any{
				"value": []any{map[string]string{"id": tenant, "displayName": "Organization " + tenant}},
			})
		})
		guard := standin.Guard{Entra: w.Entra, Audience: c.graph, Authority: host(c.authority)}
		apis[host(c.graph)] = guard.Wrap(mux)
	}
	return w.Serve(apis)
}

func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // addresses are this file's and main.go's
	}
	return u.Host
}
