package main

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/standin"
)

func open(t *testing.T, tenants int) *standin.World {
	t.Helper()
	return openOn(t, tenants, redistest.Start(t).URL())
}

func openOn(t *testing.T, tenants int, url string) *standin.World {
	t.Helper()
	e := example
	e.Emulate = func(w *standin.World) error { return emulate(w, tenants) }
	w, err := standin.Open(e, func(name string) string { return map[string]string{"REDIS_URL": url}[name] })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// Two instances at once, two rounds each: a token request for each tenant, and the tenant that refuses is the only one
// that fails.
func TestEachTenantCostsOneTokenRequest(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		const n = 40
		w := openOn(t, n, url)
		var out bytes.Buffer
		if err := run(t.Context(), w, &out, options{instances: 2, cloud: "public"}); err != nil {
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
	t.Parallel()
	w := open(t, 4)
	asked := &hosts{base: w.Network}
	w.Network = asked
	for _, test := range []struct{ cloud, region, authority, graph string }{
		{"public", "", "login.microsoftonline.com", "graph.microsoft.com"},
		{"public", "westeurope", "westeurope.login.microsoft.com", "graph.microsoft.com"},
		{"usgov", "", "login.microsoftonline.us", "graph.microsoft.us"},
		{"china", "", "login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn"},
	} {
		before := w.Answers(test.graph, http.StatusOK)
		asked.posts = map[string]int{}
		var out bytes.Buffer
		// A region's token is that of its cloud, and would be found in Redis.
		w.CacheOptions.Prefix = redistest.Prefix(t)
		if err := run(t.Context(), w, &out, options{instances: 1, cloud: test.cloud, region: test.region}); err != nil {
			t.Fatal(err)
		}
		if asked.posts[test.authority] < 3 || len(asked.posts) != 1 {
			t.Errorf("%s %s: token requests by host %v, want all at %s", test.cloud, test.region, asked.posts, test.authority)
		}
		if n := w.Answers(test.graph, http.StatusOK) - before; n != 6 {
			t.Errorf("%s %s: %s answered %d times, want 6:\n%s", test.cloud, test.region, test.graph, n, out.String())
		}
	}
}

// hosts counts token requests by host.
type hosts struct {
	base  http.RoundTripper
	mu    sync.Mutex
	posts map[string]int
}

func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		h.mu.Lock()
		h.posts[r.URL.Host]++
		h.mu.Unlock()
	}
	return h.base.RoundTrip(r)
}

func TestWrongOptionIsNamed(t *testing.T) {
	t.Parallel()
	w := open(t, 1)
	for want, o := range map[string]options{
		`-cloud is "mars"`: {instances: 1, cloud: "mars"},
		"-instances is 0":  {cloud: "public"},
	} {
		if err := run(t.Context(), w, new(bytes.Buffer), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
