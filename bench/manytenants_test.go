package bench

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const manyTenants = "200 tenants x 20 scopes, one client, 32 goroutines, all known"

// BenchmarkTenantsAndScopes is a call for a token that is known, where one client has those of 200 tenants with 20
// scopes each.
func BenchmarkTenantsAndScopes(b *testing.B) {
	const tenants, each, goroutines = 200, 20, 32
	w := newWorld(b)
	s := w.appSeed(b)
	seeds := make([]seed, tenants)
	for i := range seeds {
		seeds[i] = s.tenant(i, each)
	}
	var turns []turn
	for _, c := range []contender{nothing, naively, library} {
		entra := &instant{base: w.entra.Transport()}
		app := w.app(b, w.knowing(b, c, entra, seeds), tenantName(0))
		call := func(tenant int) error {
			_, err := app.AcquireTokenByCredential(context.Background(), scopes(resource(rand.IntN(each))),
				confidential.WithTenantID(tenantName(tenant)))
			return err
		}
		begun, next := time.Now(), 0
		timedCalls(b, tenants, func() error { next++; return call(next - 1) })
		known, sent := time.Since(begun), entra.n.Load()
		all := &crowd{call: func() error { return call(rand.IntN(tenants)) }}
		turns = append(turns, turn{
			name: c.name, take: func() []float64 { return all.rush(goroutines, 10) },
			more: func() []any {
				return []any{"ms until all were known", ms(known), "token requests", float64(entra.n.Load() - sent),
					"errors", float64(all.failed.Load())}
			},
		})
	}
	inTurns(b, manyTenants, 0, turns...)
}
