package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "secretless",
	Help: `Takes an app's token without a secret of the app's. Entra ID, Redis and the
managed identity are emulated, unless the environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID
                    the app registration, which trusts the identity
                    (Certificates & secrets, Federated credentials)
  AZURE_FEDERATED_TOKEN_FILE
                    on AKS, set by the workload identity webhook; without it a
                    managed identity is used:
  MANAGED_IDENTITY_CLIENT_ID
                    which, if it is not the system-assigned one
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances`,
	Settings: []string{"AZURE_TENANT_ID"},
	Emulate:  emulate,
	Run:      twoInstances,
	Cache:    &options,
}

// emulate is App Service's endpoint for managed identities
// (https://learn.microsoft.com/azure/app-service/overview-managed-identity).
func emulate(w *standin.World) error {
	proof, err := w.Entra.FederatedCredential(w.Getenv("AZURE_CLIENT_ID"))
	if err != nil {
		return err
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-IDENTITY-HEADER") != "known to this process" {
			standin.Error(out, http.StatusUnauthorized, "unauthorized", "the header is not the one that this process was given")
			return
		}
		standin.JSON(out, map[string]string{"access_token": proof, "token_type": "Bearer",
			"resource": r.URL.Query().Get("resource"), "expires_on": strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)})
	}))
	w.OnClose(endpoint.Close)
	w.Set("IDENTITY_ENDPOINT", endpoint.URL)
	w.Set("IDENTITY_HEADER", "known to this process")
	w.Set("AZURE_FEDERATED_TOKEN_FILE", "")
	// An identity of this world's own: MSAL keeps its token for the whole process.
	w.Set("MANAGED_IDENTITY_CLIENT_ID", w.Getenv("AZURE_CLIENT_ID"))
	return nil
}

// twoInstances runs the example twice, as two instances do.
func twoInstances(ctx context.Context, out io.Writer, _ *standin.World) error {
	for n := range 2 {
		fmt.Fprintf(out, "instance %d: ", n+1)
		if err := run(ctx, out); err != nil {
			return err
		}
	}
	return nil
}
