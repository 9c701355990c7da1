package bench

import (
	"context"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// BenchmarkStore is what a caller waits, once a new token has come, until it is in Redis: Export. The naive accessor is
// the floor: MSAL's own Marshal and a SET of one plain value. The tokens come from memory. The contenders take turns,
// and the time is the median, as in BenchmarkColdRead.
func BenchmarkStore(b *testing.B) {
	for _, kind := range []string{"app", "user"} {
		b.Run(kind, func(b *testing.B) {
			w := newWorld(b)
			type turn struct {
				contender
				timed
				call            func()
				took            []float64
				commands, bytes float64
			}
			var turns []*turn
			for _, c := range []contender{naively, byScript, library} {
				entra := &instant{base: w.entra.Transport()}
				p := w.with(b, c, entra)
				t := &turn{contender: c, timed: timed{ExportReplace: p.accessor}}
				p.accessor = &t.timed
				if kind == "app" {
					p.http.Transport = entra // every call is to bring a token: no gate
				}
				app := w.app(b, p, tenantName(0))
				t.call = func() {
					// A challenge makes MSAL ask whatever it has.
					if _, err := app.AcquireTokenByCredential(context.Background(), scopes(graph),
						confidential.WithClaims(`{"access_token":{"nbf":{"essential":true}}}`)); err != nil {
						b.Fatal(err)
					}
				}
				if kind == "user" {
					t.call = func() { w.signIn(b, app) }
				}
				t.call()
				const n = 50
				before, bytes := w.commands()
				for range n {
					t.call()
				}
				after, bytesAfter := w.commands()
				t.commands, t.bytes = float64(after-before-1)/n, float64(bytesAfter-bytes)/n
				turns = append(turns, t)
			}
			for b.Loop() {
				for _, t := range turns {
					t.export = 0
					t.call()
					t.took = append(t.took, float64(t.export))
				}
			}
			for _, t := range turns {
				ns := median(t.took)
				b.ReportMetric(ns, strings.ReplaceAll(t.name, " ", "-")+"-ns/op")
				results.add("store, "+kind, t.name, b.N, ns, "commands in Redis", t.commands, "bytes on the wire", t.bytes)
			}
		})
	}
}
