package bench

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// entraTakes is how long Entra ID takes for a token, as it does (shown in many a trace: 100 to 500 ms).
const entraTakes = 300 * time.Millisecond

// alone is the floor: MSAL without an accessor, with its callers' one answer at hand in each process.
var alone = contender{"single-flight in each process, no Redis",
	func(_ place, base http.RoundTripper) (process, error) {
		return process{http: &http.Client{Transport: &sharing{base: base}}}, nil
	}}

// sharing is one token request for all who ask at once. It compares nothing: its callers want one token.
type sharing struct {
	base  http.RoundTripper
	group singleflight.Group
}

func (s *sharing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return s.base.RoundTrip(r)
	}
	body, err, _ := s.group.Do(r.URL.String(), func() (any, error) {
		resp, err := s.base.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	})
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(body.([]byte))),
		Request: r}, nil
}

// burst has callers in each of the processes want one token that nobody has, and says how long the slowest waited, how
// long after Entra ID's last answer, and how many token requests that took.
func (w *world) burst(
	b *testing.B, workers []*worker, tenant string, goroutines int,
) (slowest, late time.Duration, requests int) {
	sent := w.entra.Count()
	var ended int64
	for _, o := range tell(b, workers, order{Op: "burst", Tenant: tenant, N: goroutines}) {
		slowest, ended = max(slowest, o.Took), max(ended, o.EndedMicros)
	}
	log := w.entra.Requests()[sent:]
	if len(log) == 0 {
		b.Fatal("nobody asked for a token")
	}
	answered := slices.MaxFunc(log, func(a, b entratest.Request) int { return a.Answered.Compare(b.Answered) }).Answered
	return slowest, time.UnixMicro(ended).Sub(answered), len(log)
}

// BenchmarkStampede is 8 cold processes with 32 callers each that want one token. Time is that of the slowest caller.
func BenchmarkStampede(b *testing.B) {
	const processes, goroutines = 8, 32
	w := newWorld(b)
	w.entra.SetBehavior(func(e *entratest.Behavior) { e.Latency = entraTakes })
	tenants := 0
	for _, c := range append([]program{{name: memory.name}, {name: naively.name}, {name: locked.name}, {name: alone.name},
		{name: library.name}}, peers(b)...) {
		b.Run(c.name, func(b *testing.B) {
			var took, late []float64
			requests := 0
			for range max(b.N, 5) { // one is soon disturbed by what else the machine does: medians
				tenants++ // a tenant that nobody has a token of
				workers := w.spawn(b, processes, c.name, tenantName(tenants), c.command...)
				s, l, n := w.burst(b, workers, tenantName(tenants), goroutines)
				took, late, requests = append(took, float64(s)), append(late, ms(l)), requests+n
			}
			ns, each := median(took), float64(requests)/float64(len(took))
			b.ReportMetric(ns, "slowest-ns/op")
			b.ReportMetric(each, "requests/op")
			results.add("stampede, 8 processes x 32", c.name, b.N, ns, "token requests", each,
				"ms from the last answer to the last caller", median(late), "ms in the worst of the runs", slices.Max(late))
		})
	}
}

func ms(d time.Duration) float64 { return float64(d.Round(100*time.Microsecond)) / 1e6 }
