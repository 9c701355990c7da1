package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func open(t *testing.T, tenants int) *standin.World {
	t.Helper()
	return openOn(t, tenants, redistest.Start(t).URL())
}

func openOn(t *testing.T, tenants int, url string) *standin.World {
	t.Helper()
	e := example
	e.Emulate, e.RedisURL = func(w *standin.World) error { return emulate(w, tenants) }, url
	return standin.ForTest(t, e)
}

// Two instances at once, two rounds each: a token request for each tenant, and the tenant that refuses is the only one
// that fails.
func TestEachTenantCostsOneTokenRequest(t *testing.T) {
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		const n = 40
		w := openOn(t, n, url)
		var out bytes.Buffer
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), ": 39 of 40 tenants done\n"); got != 4 {
			t.Errorf("%d of 4 rounds did all but one tenant:\n%s", got, out.String())
		}
		tenants := strings.Split(w.Getenv("AZURE_TENANT_IDS"), ",")
		if got := strings.Count(out.String(), "tenant "+tenants[n-1]+": AADSTS700016\n"); got != 4 {
			t.Errorf("the refusal was told %d times, want once in each round:\n%s", got, out.String())
		}
		for _, tenant := range tenants[:n-1] {
			if got := w.Entra.Count(entratest.ByTenant(tenant)); got != 1 {
				t.Errorf("%d token requests for a tenant, want 1", got)
			}
		}
		if got := w.Answers("graph.microsoft.com", http.StatusOK); got != 4*(n-1) {
			t.Errorf("Graph answered %d times, want %d", got, 4*(n-1))
		}
	})
}

// The option leads to the cloud's own Entra ID and Graph, whose tokens no other cloud takes, and to the region's token
// service.
func TestCloudAndRegionLeadToTheirAuthority(t *testing.T) {
	w := open(t, 4)
	defer func(n int) { *instances, *cloudName, *region = n, "public", "" }(*instances)
	*instances = 1
	for _, test := range []struct{ cloud, region, authority, graph string }{
		{"public", "", "login.microsoftonline.com", "graph.microsoft.com"},
		{"public", "westeurope", "westeurope.login.microsoft.com", "graph.microsoft.com"},
		{"usgov", "", "login.microsoftonline.us", "graph.microsoft.us"},
		{"china", "", "login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn"},
	} {
		before := w.Answers(test.graph, http.StatusOK)
		w.Entra.ResetRequests()
		var out bytes.Buffer
		// A region's token is that of its cloud, and would be found in Redis.
		options.Prefix = redistest.Prefix(t)
		*cloudName, *region = test.cloud, test.region
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		for _, r := range w.Entra.Requests() {
			if r.Host != test.authority {
				t.Errorf("%s %s: a token request at %s, want %s", test.cloud, test.region, r.Host, test.authority)
			}
		}
		if n := w.Entra.Count(); n < 3 {
			t.Errorf("%s %s: %d token requests, want one for each of 3 tenants", test.cloud, test.region, n)
		}
		if n := w.Answers(test.graph, http.StatusOK) - before; n != 6 {
			t.Errorf("%s %s: %s answered %d times, want 6:\n%s", test.cloud, test.region, test.graph, n, out.String())
		}
	}
}

func TestWrongOptionIsNamed(t *testing.T) {
	open(t, 1)
	defer func(n int) { *instances, *cloudName = n, "public" }(*instances)
	for _, test := range []struct {
		want      string
		instances int
		cloud     string
	}{{`-cloud is "mars"`, 1, "mars"}, {"-instances is 0", 0, "public"}} {
		*instances, *cloudName = test.instances, test.cloud
		if err := run(t.Context(), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}
