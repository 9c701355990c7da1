package cost_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// What an instance asks of Redis in a minute does not grow with the tenants whose tokens are in use on it, but for a
// question about each every five minutes.
func TestLongCommandsOfAnInstance(t *testing.T) {
	long.Test(t)
	for _, tenants := range []int{10, 100, 1000} {
		t.Run(fmt.Sprint(tenants), func(t *testing.T) {
			w := counted(t)
			// Until half a minute and four times OpTimeout after its first reading the change log does not count.
			i := w.Instance(func(o *msalredis.Options) { o.OpTimeout = 2 * time.Second })
			clients, err := clientpool.NewShards(32, func() (confidential.Client, error) {
				return harness.MakeApp(w.Entra.Authority(entratest.DefaultTenant), i.Tokens, i.HTTP)
			})
			if err != nil {
				t.Fatal(err)
			}
			// use uses each tenant's token about once a second.
			use := func(d time.Duration) {
				t.Helper()
				for until := time.Now().Add(d); time.Now().Before(until); {
					round := time.Now()
					for n := range tenants {
						name := harness.TenantName(n)
						app, err := clients.Get(name)
						if err != nil {
							t.Fatal(err)
						}
						harness.Must(t)(app.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope},
							confidential.WithTenantID(name)))
					}
					harness.WaitUntil(round.Add(time.Second))
				}
			}
			before := stats(w, "commandstats")
			for range 12 {
				use(10 * time.Second)
				if ran(w, before)["evalsha"] < 10 {
					break
				}
				before = stats(w, "commandstats")
			}
			before = stats(w, "commandstats")
			use(time.Minute)
			ran := ran(w, before)
			t.Logf("%d tenants: %v commands in a minute: %v", tenants, ran["evalsha"]+ran["eval"], ran)
			if most := 18 + tenants/5; int(ran["evalsha"]) > most {
				t.Errorf("%v scripts in a minute, want %d at most", ran["evalsha"], most)
			}
		})
	}
}
