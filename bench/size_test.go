package bench

import (
	"context"
	"testing"
)

// BenchmarkSize is what Redis keeps of an app's token and of a user's sign-in: MEMORY USAGE of all keys, in bytes. Its
// time means nothing.
func BenchmarkSize(b *testing.B) {
	for _, kind := range []string{"app", "user"} {
		var floor float64
		for _, c := range []contender{naively, library} {
			w := newWorld(b)
			b.Run(kind+"/"+c.name, func(b *testing.B) {
				for b.Loop() {
					if err := w.rdb.FlushAll(context.Background()).Err(); err != nil {
						b.Fatal(err)
					}
					p := w.start(b, c, w.entra.Transport())
					app := w.app(b, p, tenantName(0))
					if kind == "user" {
						w.signIn(b, app)
					} else if _, err := app.AcquireTokenByCredential(context.Background(), scopes(graph)); err != nil {
						b.Fatal(err)
					}
					p.close()
				}
				// The record MSAL reads; a token's answer, which serves those without an accessor, is told apart.
				var record, answers float64
				for key, bytes := range w.memory(b) {
					if isAnswer(key) {
						answers += bytes
					} else {
						record += bytes
					}
				}
				if floor == 0 {
					floor = record
				}
				b.ReportMetric(record, "bytes")
				more := []any{"bytes", record, "x naive", record / floor}
				if answers > 0 {
					more = append(more, "bytes for the gate beside it", answers)
				}
				results.add("memory in Redis, "+kind, c.name, b.N, 0, more...)
			})
		}
	}
}
