package msalredis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

func tenantName(n int) string { return fmt.Sprintf("%08d-1111-4222-8333-00000000000d", n) }

// A new client of a tenant whose documents and tokens are known costs no request at all, on the wire or otherwise.
func TestNewClientCostsNoRequest(t *testing.T) {
	w := newWorld(t)
	i := w.instance()
	ctx := context.Background()
	must(t)(i.app().AcquireTokenByCredential(ctx, []string{graph}))
	before := fmt.Sprint(w.entra.OtherRequests())
	for range 5 {
		must(t)(i.app().AcquireTokenByCredential(ctx, []string{graph}))
	}
	if after := fmt.Sprint(w.entra.OtherRequests()); after != before {
		t.Errorf("discovery requests: %s, before %s", after, before)
	}
	w.count(t, 1, "six clients")
	// A tenant that does not exist is not remembered as one that does.
	for range 2 {
		_, err := newApp(t, w.entra.Authority("not/a-tenant"), i.tokens, i.http).AcquireTokenByCredential(ctx, []string{graph})
		if err == nil {
			t.Error("a token of a tenant that is none")
		}
	}
}

// 200 tenants, skewed, 32 goroutines: by one client, and by a pool that holds fewer clients than there are tenants.
// No error, and no token request but the first of each.
func TestManyTenantsNoNeedlessRequest(t *testing.T) {
	const tenants, goroutines, calls = 200, 32, 75
	w := newWorld(t)
	ctx := context.Background()
	tokens := make([]string, tenants)
	warm := w.instance()
	app := warm.app()
	if errs := parallel(8, func(g int) error {
		for n := g; n < tenants; n += 8 {
			r, err := app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(tenantName(n)))
			if err != nil {
				return err
			}
			tokens[n] = r.AccessToken
		}
		return nil
	}); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	w.count(t, tenants, "cold")
	cold := w.instance(func(o *msalredis.Options) { o.LocalBytes = 256 << 10 }) // less than they need
	one := cold.app()
	pool := clientpool.New(tenants/4, func(tenant string) (confidential.Client, error) {
		return makeApp(w.entra.Authority(tenant), cold.tokens, cold.http)
	})
	for name, acquire := range map[string]func(string) (confidential.AuthResult, error){
		"one client": func(tenant string) (confidential.AuthResult, error) {
			return one.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(tenant))
		},
		"a pool": func(tenant string) (confidential.AuthResult, error) {
			app, err := pool.Get(tenant)
			if err != nil {
				return confidential.AuthResult{}, err
			}
			return app.AcquireTokenByCredential(ctx, []string{graph})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if errs := parallel(goroutines, func(g int) error {
				random := rand.New(rand.NewPCG(1, uint64(g)))
				zipf := rand.NewZipf(random, 1.3, 4, tenants-1)
				for range calls {
					n := int(zipf.Uint64())
					r, err := acquire(tenantName(n))
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
			w.count(t, tenants, name)
		})
	}
}
