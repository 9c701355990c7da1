package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "businesscentral",
	Help: `Counts the customers of every company in every Business Central environment of a
tenant. Entra ID, Redis and Business Central are emulated, unless the
environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration, which Business Central knows too
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances: 2026a: and the
                    output of openssl rand -base64 32`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"},
	Emulate: func(w *standin.World) error {
		return (&emulated{limit: standin.Limit{Requests: 10, Pause: 500 * time.Millisecond}}).serve(w)
	},
	Run:   func(ctx context.Context, out io.Writer, _ *standin.World) error { return run(ctx, out) },
	Cache: &options,
}

const host = "api.businesscentral.dynamics.com"

// emulated is Business Central with two environments, which are one service to one app: after so many requests it asks
// for a pause, and does not say for how long
// (https://learn.microsoft.com/dynamics365/business-central/dev-itpro/administration/operational-limits-online).
type emulated struct {
	limit     standin.Limit
	now, most atomic.Int64 // requests at once
}

func (e *emulated) serve(w *standin.World) error {
	type environment struct {
		Name              string `json:"name"`
		Type              string `json:"type"`
		ApplicationFamily string `json:"applicationFamily"`
		Status            string `json:"status"`
	}
	environments := []environment{{"Production", "Production", "BusinessCentral", "Active"},
		{"UAT", "Sandbox", "BusinessCentral", "Active"}}
	companies := map[string][]map[string]string{}
	customers := map[string][]map[string]string{} // by company
	for i, env := range environments {
		for j, name := range []string{"CRONUS DE", "CRONUS FR", "CRONUS GB", "CRONUS IT", "CRONUS NL", "CRONUS PL",
			"CRONUS US"}[:7-5*i] {
			id := uuid.NewSHA1(uuid.NameSpaceDNS, []byte(env.Name+name)).String()
			companies[env.Name] = append(companies[env.Name], map[string]string{"id": id, "name": name})
			for n := range 100 * (j + 1) {
				customers[id] = append(customers[id],
					map[string]string{"id": uuid.NewSHA1(uuid.NameSpaceDNS, fmt.Append(nil, id, n)).String(),
						"displayName": fmt.Sprint("Customer ", n)})
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/v2.28/applications/businesscentral/environments",
		func(out http.ResponseWriter, r *http.Request) {
			standin.JSON(out, map[string]any{"value": environments})
		})
	mux.HandleFunc("GET /v2.0/{tenant}/{environment}/api/v2.0/companies", func(out http.ResponseWriter, r *http.Request) {
		answer(out, r, companies[r.PathValue("environment")])
	})
	mux.HandleFunc("GET /v2.0/{tenant}/{environment}/api/v2.0/{company}/customers",
		func(out http.ResponseWriter, r *http.Request) {
			var id string
			_, _ = fmt.Sscanf(r.PathValue("company"), "companies(%36s)", &id) // an id that is none has no customers
			answer(out, r, customers[id])
		})
	guarded := standin.Guard{Entra: w.Entra, Audience: service}.Wrap(
		http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			now := e.now.Add(1)
			defer e.now.Add(-1)
			for most := e.most.Load(); now > most && !e.most.CompareAndSwap(most, now); most = e.most.Load() {
			}
			if _, wait := e.limit.Take(); wait > 0 {
				standin.Error(out, http.StatusTooManyRequests, "Application_TooManyRequests", "Too many requests. Try again later.")
				return
			}
			mux.ServeHTTP(out, r)
		}))
	return w.Serve(map[string]http.Handler{host: guarded})
}

func answer(out http.ResponseWriter, r *http.Request, all []map[string]string) {
	if t := r.PathValue("tenant"); t != standin.CallerOf(r).Tenant || all == nil {
		standin.Error(out, http.StatusNotFound, "NoEnvironment", "Environment does not exist.")
		return
	}
	part, next := standin.Page(r, all, 20_000)
	page := map[string]any{"@odata.context": "https://" + host + r.URL.Path + "/$metadata", "value": part}
	if next != "" {
		page["@odata.nextLink"] = next
	}
	standin.JSON(out, page)
}
