package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

// world is what the instances of a demonstration talk to: Redis, Entra ID, Dataverse and Graph. What the environment
// names is taken from there; the rest is emulated in this process.
type world struct {
	*standin.World
	env   []string     // the app settings
	calls atomic.Int64 // of the emulated APIs with a valid token
}

// newWorld makes a world; redisURL is, for tests, the Redis of one that is emulated.
func newWorld(env func(string) string, redisURL string) (*world, error) {
	w := &world{}
	in, err := standin.Open(standin.Example{Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "DATAVERSE_URL"},
		Emulate: w.emulate, RedisURL: redisURL}, env)
	if err != nil {
		return nil, err
	}
	w.World, w.env = in, in.Environ()
	for _, name := range append(settings, "GRAPH_URL") {
		w.env = append(w.env, name+"="+in.Getenv(name))
	}
	return w, nil
}

func (w *world) emulate(in *standin.World) error {
	in.Set("ENTRATEST_HOST", in.Entra.Host())
	in.Set("ENTRATEST_CA", string(in.Entra.CAPEM()))
	in.Set("DATAVERSE_URL", w.serveAPI(in, "GET /api/data/v9.2/accounts", "name", "Contoso", "Fabrikam"))
	in.Set("GRAPH_URL", w.serveAPI(in, "GET /v1.0/users", "displayName", "Ada Lovelace", "Grace Hopper", "Radia Perlman"))
	return nil
}

// serveAPI is a resource of one collection, for those who have a valid token for it. It has an address of its own, for
// other processes.
func (w *world) serveAPI(in *standin.World, pattern, property string, names ...string) (url string) {
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(out http.ResponseWriter, r *http.Request) {
		w.calls.Add(1)
		values := []map[string]string{}
		for _, name := range names {
			values = append(values, map[string]string{property: name})
		}
		standin.JSON(out, map[string]any{"value": values})
	})
	server := httptest.NewUnstartedServer(nil)
	url = "http://" + server.Listener.Addr().String()
	server.Config.Handler = standin.Guard{Entra: in.Entra, Audience: url}.Wrap(mux)
	server.Start()
	in.OnClose(server.Close)
	return url
}
