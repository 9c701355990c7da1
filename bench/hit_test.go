package bench

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// BenchmarkHit is a call for an app's token that is cached.
func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	for _, c := range []contender{nothing, memory, library, naively} {
		b.Run(c.name, func(b *testing.B) {
			app := w.app(b, w.with(b, c, w.entra.Transport()), tenantName(0))
			ctx, want := context.Background(), scopes(graph)
			call := func() {
				if _, err := app.AcquireTokenByCredential(ctx, want); err != nil {
					b.Fatal(err)
				}
			}
			call()
			commands, _ := w.commands()
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
			now, _ := w.commands()
			done(b, "hit", c.name, "commands in Redis", float64(now-commands-1)/float64(b.N))
		})
	}
}

const fiftyTenants = "hit, 50 tenants, 32 goroutines, one client"

// BenchmarkHitFiftyTenants is the same with 50 tenants on one client and 32 goroutines.
func BenchmarkHitFiftyTenants(b *testing.B) {
	const tenants, goroutines = 50, 32
	w := newWorld(b)
	for _, c := range []contender{memory, library, naively} {
		b.Run(c.name, func(b *testing.B) {
			p := w.with(b, c, w.entra.Transport())
			app := w.app(b, p, tenantName(0))
			ctx, want := context.Background(), scopes(graph)
			call := func(i int) {
				if _, err := app.AcquireTokenByCredential(ctx, want, confidential.WithTenantID(tenantName(i%tenants))); err != nil {
					b.Error(err)
				}
			}
			for i := range tenants {
				call(i)
			}
			sent := w.entra.Count()
			var next atomic.Int64
			b.SetParallelism(goroutines / 2)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := int(next.Add(7)); pb.Next(); i++ {
					call(i)
				}
			})
			b.StopTimer()
			done(b, fiftyTenants, c.name, "token requests", float64(w.entra.Count()-sent))
		})
	}
}
