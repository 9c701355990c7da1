package cost_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A new client of a tenant whose documents and tokens are known costs no request at all, on the wire or otherwise.
func TestNewClientCostsNoRequest(t *testing.T) {
	w := harness.NewWorld(t)
	i := w.Instance()
	ctx := context.Background()
	harness.Must(t)(i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	before := fmt.Sprint(w.Entra.OtherRequests())
	for range 5 {
		harness.Must(t)(i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	if after := fmt.Sprint(w.Entra.OtherRequests()); after != before {
		t.Errorf("discovery requests: %s, before %s", after, before)
	}
	w.Count(t, 1, "six clients")
	// A tenant that does not exist is not remembered as one that does.
	for range 2 {
		app := harness.NewApp(t, w.Entra.Authority("not/a-tenant"), i.Tokens, i.HTTP)
		_, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		if err == nil {
			t.Error("a token of a tenant that is none")
		}
	}
}

// Many tenants, skewed, 32 goroutines: by one client, by a pool that holds fewer clients than there are tenants, and by
// shards.
// No error, and no token request but the first of each.
func TestManyTenantsNoNeedlessRequest(t *testing.T) { manyTenants(t, 60, 15) }

func TestLongManyTenantsNoNeedlessRequest(t *testing.T) {
	long.Test(t)
	manyTenants(t, 200, 75)
}

func manyTenants(t *testing.T, tenants, calls int) {
	const goroutines = 32
	w := harness.NewWorld(t)
	ctx := context.Background()
	tokens := make([]string, tenants)
	warm := w.Instance()
	app := warm.App()
	if errs := harness.Parallel(8, func(g int) error {
		for n := g; n < tenants; n += 8 {
			r, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
				confidential.WithTenantID(harness.TenantName(n)))
			if err != nil {
				return err
			}
			tokens[n] = r.AccessToken
		}
		return nil
	}); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	w.Count(t, tenants, "cold")
	cold := w.Instance(func(o *msalredis.Options) { o.LocalBytes = int64(tenants) * 1300 }) // less than they need
	one := cold.App()
	pool, err := clientpool.New(tenants/4, func(tenant string) (confidential.Client, error) {
		return harness.MakeApp(w.Entra.Authority(tenant), cold.Tokens, cold.HTTP)
	})
	if err != nil {
		t.Fatal(err)
	}
	shards, err := clientpool.NewShards(8, func() (confidential.Client, error) {
		return harness.MakeApp(w.Entra.Authority(entratest.DefaultTenant), cold.Tokens, cold.HTTP)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, acquire := range map[string]func(string) (confidential.AuthResult, error){
		"one client": func(tenant string) (confidential.AuthResult, error) {
			return one.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithTenantID(tenant))
		},
		"a pool": func(tenant string) (confidential.AuthResult, error) {
			app, err := pool.Get(tenant)
			if err != nil {
				return confidential.AuthResult{}, err
			}
			return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		},
		"shards": func(tenant string) (confidential.AuthResult, error) {
			app, err := shards.Get(tenant)
			if err != nil {
				return confidential.AuthResult{}, err
			}
			return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithTenantID(tenant))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if errs := harness.Parallel(goroutines, func(g int) error {
				random := rand.New(rand.NewPCG(1, uint64(g)))
				zipf := rand.NewZipf(random, 1.3, 4, uint64(tenants-1))
				for range calls {
					n := int(zipf.Uint64())
					r, err := acquire(harness.TenantName(n))
					if err != nil {
						return err
					}
					if r.AccessToken != tokens[n] {
						return errors.New("another token than the tenant's")
					}
				}
				return nil
			}); len(errs) > 0 {
				t.Errorf("%d of %d goroutines: %v", len(errs), goroutines, errs[0])
			}
			w.Count(t, tenants, name)
		})
	}
}
