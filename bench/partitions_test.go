package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
)

// BenchmarkPartitions is a hit, and the first Replace of a new client, where Redis holds 100 to 100,000 tenants'
// tokens.
func BenchmarkPartitions(b *testing.B) {
	w := newWorld(b)
	first := w.with(b, library, w.entra.Transport())
	seen := &recorded{ExportReplace: first.accessor}
	first.accessor = seen
	app := w.app(b, first, tenantName(0))
	call := func() {
		if _, err := app.AcquireTokenByCredential(context.Background(), scopes(graph)); err != nil {
			b.Fatal(err)
		}
	}
	call()
	there := 1
	base := w.entra.Transport()
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		w.fill(b, seen, there, n)
		there = n
		b.Run(fmt.Sprintf("%d/hit", n), func(b *testing.B) {
			call()
			for b.Loop() {
				call()
			}
			done(b, fmt.Sprintf("hit, %d partitions", n), library.name)
		})
		b.Run(fmt.Sprintf("%d/cold", n), func(b *testing.B) {
			var took []float64
			sent := w.entra.Count()
			for b.Loop() {
				p := w.start(b, library, base)
				if err := p.rdb.Ping(context.Background()).Err(); err != nil {
					b.Fatal(err)
				}
				t := &timed{ExportReplace: p.accessor}
				p.accessor = t
				if _, err := w.app(b, p, tenantName(rand.IntN(n))).AcquireTokenByCredential(context.Background(),
					scopes(graph)); err != nil {
					b.Fatal(err)
				}
				p.close()
				took = append(took, float64(t.replace))
			}
			ns := median(took)
			b.ReportMetric(ns, "replace-ns/op")
			results.add(fmt.Sprintf("cold read, %d partitions", n), library.name, b.N, ns, "token requests",
				float64(w.entra.Count()-sent))
		})
	}
}

// recorded keeps the document that was stored last, and its place.
type recorded struct {
	cache.ExportReplace
	document []byte
	key      string
}

func (r *recorded) Export(ctx context.Context, m cache.Marshaler, h cache.ExportHints) (err error) {
	if r.document, err = m.Marshal(); err != nil {
		return err
	}
	r.key = h.PartitionKey
	return r.ExportReplace.Export(ctx, m, h)
}

// document is a document to be stored.
type document []byte

func (d *document) Marshal() ([]byte, error) { return *d, nil }

// fill stores for each tenant from..to what was stored for tenant 0, by a Cache of its own.
func (w *world) fill(b *testing.B, r *recorded, from, to int) {
	p := w.start(b, library, w.entra.Transport())
	defer p.close()
	old := []byte(tenantName(0))
	var wg sync.WaitGroup
	const writers = 8
	for k := range writers {
		wg.Go(func() {
			for i := from + k; i < to; i += writers {
				d := document(bytes.ReplaceAll(r.document, old, []byte(tenantName(i))))
				key := string(bytes.ReplaceAll([]byte(r.key), old, []byte(tenantName(i))))
				if err := p.accessor.Export(context.Background(), &d, cache.ExportHints{PartitionKey: key}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}
