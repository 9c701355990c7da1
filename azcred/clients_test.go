package azcred_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// clientsSeen is the accessor of a Cache, and counts the MSAL clients that use it.
type clientsSeen struct {
	*msalredis.Cache
	mu      sync.Mutex
	clients map[cache.Unmarshaler]bool
}

func (s *clientsSeen) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	s.mu.Lock()
	s.clients[u] = true
	s.mu.Unlock()
	return s.Cache.Replace(ctx, u, hints)
}

// Many tenants are spread over MSAL clients, each always on the same; a single one has a single client.
func TestTenantsAreSpreadOverClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct{ tenants, least, most int }{{1, 1, 1}, {64, 16, 32}} {
		tokens, _ := w.cache(w.prefix)
		seen := &clientsSeen{Cache: tokens, clients: map[cache.Unmarshaler]bool{}}
		cred := w.on(tokens, func(o *azcred.Options) {
			o.AdditionallyAllowedTenants = []string{"*"}
			o.MSAL = []confidential.Option{confidential.WithCache(seen)}
		})
		for round := range 2 {
			for i := range test.tenants {
				o := policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: fmt.Sprintf("t%d.example", i)}
				if _, err := cred.GetToken(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(seen.clients); n < test.least || n > test.most {
				t.Errorf("round %d: %d tenants have %d MSAL clients", round, test.tenants, n)
			}
		}
	}
	w.count(64, "64 tenants")
}
