package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const manyTenants = "200 tenants x 20 scopes, one client, 32 goroutines, all known"

// BenchmarkTenants is a call for a token that is known, where one client has those of 200 tenants with 20 scopes each,
// and 32 goroutines call; and how it grows from 10 to 1,000 tenants.
func BenchmarkTenants(b *testing.B) {
	clients := func(b *testing.B, tenants, each int) []client {
		w := newWorld(b) // else there would be what the one before has stored in the same tenants
		s := w.appSeed(b)
		seeds := make([]seed, tenants)
		for i := range seeds {
			seeds[i] = s.tenant(i, each)
		}
		return w.clients(b, "tenants", seeds, func(app confidential.Client, i int) error {
			_, err := app.AcquireTokenByCredential(context.Background(), scopes(resource(rand.IntN(each))),
				confidential.WithTenantID(tenantName(i)))
			return err
		})
	}
	b.Run("200x20", func(b *testing.B) { hits(b, manyTenants, clients(b, 200, 20), 32, 20) })
	for _, n := range []int{10, 30, 100, 300, 1_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { grow(b, "tenants", clients(b, n, 1), n) })
	}
}
