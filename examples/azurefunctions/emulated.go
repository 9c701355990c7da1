package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

// Started by hand, this process is no handler: it plays the host.
func init() {
	switch {
	case testing.Testing():
	case os.Getenv(portVariable) == "":
		playHost()
	default:
		standin.Settle(example)
	}
}

var example = standin.Example{
	Name:     "azurefunctions",
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "DATAVERSE_URL"},
	Emulate:  emulate,
	Cache:    &options,
}

const environment, graph = "contoso.crm4.dynamics.com", "graph.microsoft.com"

// emulate stands up Dataverse and Graph, with a collection each.
func emulate(w *standin.World) error {
	w.Set("DATAVERSE_URL", "https://"+environment)
	w.Set("GRAPH_URL", "https://"+graph)
	return w.Serve(map[string]http.Handler{
		environment: collection(w, environment, "GET /api/data/v9.2/accounts", "name", "Contoso", "Fabrikam"),
		graph:       collection(w, graph, "GET /v1.0/users", "displayName", "Ada Lovelace", "Grace Hopper", "Radia Perlman"),
	})
}

func collection(w *standin.World, host, pattern, property string, names ...string) http.Handler {
	values := []map[string]string{}
	for _, name := range names {
		values = append(values, map[string]string{property: name})
	}
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(out http.ResponseWriter, _ *http.Request) {
		standin.JSON(out, map[string]any{"value": values})
	})
	return standin.Guard{Entra: w.Entra, Audience: "https://" + host}.Wrap(mux)
}

// playHost demonstrates, and ends the process.
func playHost() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	standin.NoArguments("azurefunctions", `Plays the Functions host: starts instances of this handler, invokes and kills
some, and says how many token requests that took. Entra ID, Redis and the APIs
are emulated, unless the environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, DATAVERSE_URL,
  REDIS_URL, TOKEN_CACHE_KEYS`)
	standin.StopWithParent(stop)
	standin.Exit(ctx, "azurefunctions", demonstrate(ctx, os.Stdout))
}
