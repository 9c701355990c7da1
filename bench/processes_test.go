package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// BenchmarkProcesses is 1 to 64 cold processes with 4 callers each that want one token: how the cost grows with a
// fleet.
func BenchmarkProcesses(b *testing.B) {
	w := newWorld(b)
	w.entra.SetBehavior(func(e *entratest.Behavior) { e.Latency = entraTakes })
	tenants := 0
	for _, processes := range []int{1, 2, 4, 8, 16, 32, 64} {
		workload := fmt.Sprintf("cold start, %d processes x 4", processes)
		for _, c := range []contender{memory, naively, library} {
			b.Run(fmt.Sprintf("%d/%s", processes, c.name), func(b *testing.B) {
				tenants++
				workers := w.spawn(b, processes, c.name, tenantName(tenants))
				var total time.Duration
				requests := 0
				for range b.N { // the same processes, another token
					tenants++
					tell(b, workers, order{Op: "warm", Tenant: tenantName(tenants)})
					slowest, _, n := w.burst(b, workers, tenantName(tenants), 4)
					total, requests = total+slowest, requests+n
				}
				ns := float64(total) / float64(b.N)
				b.ReportMetric(ns, "slowest-ns/op")
				results.add(workload, c.name, b.N, ns, "token requests", float64(requests)/float64(b.N))
				results.growth(requestsPicture, c.name, processes, float64(requests)/float64(b.N))
				results.growth(timePicture, c.name, processes, ns/1e6)
			})
		}
	}
}
