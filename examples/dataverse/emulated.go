package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "dataverse",
	Help: `Reads the accounts of Dataverse environments. Entra ID, Redis and Dataverse are
emulated, unless the environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration, which is an application user of each
                    environment
  DATAVERSE_URL     the environments, separated by commas, as in
                    https://a.crm4.dynamics.com,https://b.crm4.dynamics.com
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances: 2026a: and the
                    output of openssl rand -base64 32`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "DATAVERSE_URL"},
	Emulate:  func(w *standin.World) error { return emulate(w, time.Second) },
	Run:      func(ctx context.Context, out io.Writer, _ *standin.World) error { return run(ctx, out) },
	Cache:    &options,
}

const production, test = "contoso.crm4.dynamics.com", "contoso-test.crm4.dynamics.com"

// emulate stands two environments up. Production has three pages of accounts and serves two requests before it asks for
// a pause.
func emulate(w *standin.World, pause time.Duration) error {
	w.Set("DATAVERSE_URL", "https://"+production+",https://"+test)
	return w.Serve(map[string]http.Handler{
		production: dataverse(w, production, 1200, &standin.Limit{Requests: 2, Pause: pause}),
		test:       dataverse(w, test, 20, &standin.Limit{Requests: 6000, Pause: pause}),
	})
}

// dataverse is an environment as
// https://learn.microsoft.com/power-apps/developer/data-platform/webapi/query/page-results and .../api-limits have it.
func dataverse(w *standin.World, host string, n int, limit *standin.Limit) http.Handler {
	accounts := make([]account, n)
	for i := range accounts {
		accounts[i] = account{Name: fmt.Sprint("Account ", i+1), Number: fmt.Sprintf("A-%05d", i+1)}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/data/v9.2/accounts", func(out http.ResponseWriter, r *http.Request) {
		left, wait := limit.Take()
		out.Header().Set("x-ms-ratelimit-burst-remaining-xrm-requests", strconv.Itoa(left))
		out.Header().Set("x-ms-ratelimit-time-remaining-xrm-requests", "1,200.00")
		if wait > 0 {
			out.Header().Set("Retry-After", standin.Seconds(wait))
			standin.Error(out, http.StatusTooManyRequests, "0x80072322",
				"Number of requests exceeded the limit of 6000 over time window of 300 seconds.")
			return
		}
		part, next := standin.Page(r, accounts, 5000)
		page := map[string]any{"@odata.context": "https://" + host + "/api/data/v9.2/$metadata#accounts(name,accountnumber)",
			"value": part}
		if next != "" {
			page["@odata.nextLink"] = next
		}
		if size := standin.MaxPageSize(r); size != "" {
			out.Header().Set("Preference-Applied", "odata.maxpagesize="+size)
		}
		standin.JSON(out, page)
	})
	return standin.Guard{Entra: w.Entra, Audience: "https://" + host}.Wrap(mux)
}
