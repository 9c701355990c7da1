package discovery

import (
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// tenants remembers which tenant names lead to a token endpoint: MSAL keeps tokens under the name it was given,
// a domain or "organizations", while the endpoint that openid-configuration names has the tenant's id.
type tenants struct {
	mu    sync.Mutex
	names map[string][]string
}

func newTenants() *tenants { return &tenants{names: map[string][]string{}} }

const tenantsAtMost = 16384

// learn takes in an openid-configuration that was fetched from an address; false: it is none.
//
// Who serves a document may name any token endpoint in it, so its tenant becomes another name of the endpoint's only
// where both are of one cloud: else whoever can have a client look at a host of his makes his tenant a name of
// another's.
func (t *tenants) learn(from *url.URL, body []byte) bool {
	name := tenantOf(from.Path)
	endpoint := gjson.GetBytes(body, "token_endpoint").String()
	if name == "" || endpoint == "" {
		return false
	}
	endpoint = strings.ToLower(endpoint)
	to, err := url.Parse(endpoint)
	if err != nil || to.Scheme != from.Scheme || !tokenreq.SameCloud(from.Host, to.Host) {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names) < tenantsAtMost && !slices.Contains(t.names[endpoint], name) && len(t.names[endpoint]) < 16 {
		t.names[endpoint] = append(t.names[endpoint], name)
	}
	return true
}

// of are the names of a token endpoint's tenant, the first being the one that MSAL most likely uses.
func (t *tenants) of(endpoint, path string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.Clone(t.names[endpoint])
	if own := tenantOf(path); !slices.Contains(names, own) {
		names = append(names, own)
	}
	return names
}

// tenantOf is the tenant's name in a path, in small letters as MSAL has it in its cache: it asks for the endpoints at
// the authority as it was written.
func tenantOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return strings.ToLower(first)
}
