package bench

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// BenchmarkStampede is 8 cold clients with 32 goroutines each that want one token, which takes Entra ID 300 ms. Time
// is that of the slowest caller.
func BenchmarkStampede(b *testing.B) {
	const clients, goroutines, latency = 8, 32, 300 * time.Millisecond
	w := newWorld(b)
	w.entra.SetBehavior(func(e *entratest.Behavior) { e.Latency = latency })
	tenants := 0
	for _, c := range []contender{memory, naively, locked, library} {
		b.Run(c.name, func(b *testing.B) {
			var slowest, late time.Duration
			var all []time.Duration
			requests := 0
			for range b.N {
				b.StopTimer()
				tenants++ // a tenant that nobody has a token of
				var apps []confidential.Client
				var processes []process
				for range clients {
					p := w.with(b, c, w.entra.Transport())
					app := w.app(b, p, tenantName(tenants))
					processes, apps = append(processes, p), append(apps, app)
					// MSAL's discovery is not what is compared.
					if _, err := app.AuthCodeURL(context.Background(), clientID, redirectURI, scopes(userScope)); err != nil {
						b.Fatal(err)
					}
				}
				sent := w.entra.Count()
				start := make(chan struct{})
				var mu sync.Mutex
				var wg sync.WaitGroup
				var last time.Time
				for i, app := range apps {
					for range goroutines {
						wg.Go(func() {
							<-start
							begun := time.Now()
							call := func() error {
								_, err := app.AcquireTokenByCredential(context.Background(), scopes(graph))
								return err
							}
							var err error
							if around := processes[i].around; around != nil {
								err = around(context.Background(), call)
							} else {
								err = call()
							}
							ended := time.Now()
							mu.Lock()
							defer mu.Unlock()
							if err != nil {
								b.Error(err)
							}
							last = ended
							all = append(all, ended.Sub(begun))
							slowest = max(slowest, ended.Sub(begun))
						})
					}
				}
				b.StartTimer()
				close(start)
				wg.Wait()
				b.StopTimer()
				log := w.entra.Requests()
				requests += len(log) - sent
				answered := slices.MaxFunc(log[sent:], func(a, b entratest.Request) int { return a.Answered.Compare(b.Answered) }).Answered
				late = max(late, last.Sub(answered))
			}
			slices.Sort(all)
			b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
			done(b, "stampede, 8 clients x 32", c.name, "token requests", float64(requests)/float64(b.N),
				"ms p50", ms(all[len(all)/2]), "ms from the last answer to the last caller", ms(late))
		})
	}
}

func ms(d time.Duration) float64 { return float64(d.Round(100*time.Microsecond)) / 1e6 }
