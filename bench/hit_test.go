package bench

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// mindful is an accessor that asks what none can leave unasked which shares tokens: whether this is still the client
// that it knows, and not another at its address, and how old what it knows is. It counts hits too.
var mindful = contender{"accessor that looks at client and clock",
	func(_ place, base http.RoundTripper) (process, error) {
		return process{accessor: &looking{start: time.Now()}, http: &http.Client{Transport: base}}, nil
	}}

type looking struct {
	noop
	start  time.Time
	client weak.Pointer[byte]
	hits   atomic.Int64
}

func (l *looking) Replace(_ context.Context, u cache.Unmarshaler, _ cache.ReplaceHints) error {
	at := reflect.ValueOf(u).UnsafePointer()
	if known := l.client.Value(); unsafe.Pointer(known) != at {
		l.client = weak.Make((*byte)(at))
	}
	if time.Since(l.start) < time.Hour {
		l.hits.Add(1)
	}
	return nil
}

// BenchmarkHit is a call for an app's token that is cached. What differs is less than what the machine's speed changes
// by within a second, so the contenders take turns of about a millisecond, and the time is the median of the turns.
func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	type turn struct {
		contender
		call     func()
		calls    int // in one turn
		commands int64
		took     []float64 // of one call, on average of a turn
	}
	var turns []*turn
	for _, c := range []contender{nothing, mindful, memory, library, naively} {
		app := w.app(b, w.with(b, c, w.entra.Transport()), tenantName(0))
		ctx, want := context.Background(), scopes(graph)
		t := &turn{contender: c, calls: 500}
		if c.name == naively.name {
			t.calls = 5
		}
		t.call = func() {
			if _, err := app.AcquireTokenByCredential(ctx, want); err != nil {
				b.Fatal(err)
			}
		}
		t.call()
		time.Sleep(50 * time.Millisecond) // what is kept behind the first
		before, _ := w.commands()
		for range 100 {
			t.call()
		}
		after, _ := w.commands()
		t.commands = after - before - 1
		turns = append(turns, t)
	}
	for b.Loop() {
		for _, t := range turns {
			begun := time.Now()
			for range t.calls {
				t.call()
			}
			t.took = append(t.took, float64(time.Since(begun))/float64(t.calls))
		}
	}
	for _, t := range turns {
		ns := median(t.took)
		b.ReportMetric(ns, strings.ReplaceAll(t.name, " ", "-")+"-ns/op")
		results.add("hit", t.name, b.N, ns, "commands in Redis", float64(t.commands)/100)
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
