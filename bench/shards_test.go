package bench

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

// BenchmarkShards is many tenants or users on one MSAL client, spread over 32, and with a client each: how long the
// first calls take until all are known, what 32 goroutines that call at the same time wait for what is known, and what
// the process's memory grows by.
func BenchmarkShards(b *testing.B) {
	const tenants, each, users = 200, 20, 1_000
	b.Run("tenants", func(b *testing.B) {
		w := newWorld(b)
		s, seeds := w.appSeed(b), make([]seed, tenants)
		for i := range seeds {
			seeds[i] = s.tenant(i, each)
		}
		w.spread(b, "200 tenants x 20 scopes, 32 goroutines", seeds, tenantName,
			func(app confidential.Client, i int) error {
				_, err := app.AcquireTokenByCredential(context.Background(), scopes(resource(rand.IntN(each))),
					confidential.WithTenantID(tenantName(i)))
				return err
			})
	})
	b.Run("users", func(b *testing.B) {
		w := newWorld(b)
		s, seeds := w.userSeed(b), make([]seed, users)
		for i := range seeds {
			seeds[i] = s.as(i, user.ObjectID, objectID(i))
		}
		w.spread(b, "1,000 users, 32 goroutines", seeds, objectID, silently)
	})
}

// spread measures the ways of spreading what the seeds are of.
func (w *world) spread(
	b *testing.B, workload string, seeds []seed, key func(i int) string,
	call func(app confidential.Client, i int) error,
) {
	type get func(key string) (confidential.Client, error)
	one := func(p process) (get, error) {
		app, err := p.newApp(w.entra.Authority(tenantName(0)))
		return func(string) (confidential.Client, error) { return app, nil }, err
	}
	var turns []turn
	for _, way := range []struct {
		contender
		how     string
		clients func(p process) (get, error)
	}{
		{nothing, ", one client", one},
		{library, ", one client", one},
		{library, ", 32 shards", func(p process) (get, error) {
			shards, err := clientpool.NewShards(32, func() (confidential.Client, error) {
				return p.newApp(w.entra.Authority(tenantName(0)))
			})
			return shards.Get, err
		}},
		{library, ", a client each", func(p process) (get, error) {
			pool, err := clientpool.New(len(seeds), func(string) (confidential.Client, error) {
				return p.newApp(w.entra.Authority(tenantName(0)))
			})
			return pool.Get, err
		}},
	} {
		p := w.knowing(b, way.contender, &instant{base: w.entra.Transport()}, seeds)
		clients, err := way.clients(p)
		if err != nil {
			b.Fatal(err)
		}
		use := func(i int) error {
			app, err := clients(key(i))
			if err != nil {
				return err
			}
			return call(app, i)
		}
		all := func() time.Duration {
			begun := time.Now()
			for i := range seeds {
				if err := use(i); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(begun)
		}
		var known time.Duration
		memory := grown(func() any {
			known = all()
			return clients
		})
		crowd := &crowd{call: func() error { return use(rand.IntN(len(seeds))) }}
		turns = append(turns, turn{
			name: way.name + way.how,
			take: func() []float64 {
				all() // the others' turns may have taken longer than what is known is relied on
				return crowd.rush(32, 20)
			},
			more: func() []any {
				return []any{"ms until all were known", ms(known), "MB", memory / 1e6, "errors", float64(crowd.failed.Load())}
			},
		})
		b.Logf("%s%s: %v until all were known", way.name, way.how, known)
	}
	inTurns(b, workload, 0, turns...)
}
