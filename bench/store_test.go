package bench

import (
	"context"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// BenchmarkStore is what a caller waits, once a new token has come, until it is in Redis: Export. The naive accessor
// is the floor: MSAL's own Marshal and a SET of one plain value. The tokens come from memory.
func BenchmarkStore(b *testing.B) {
	for _, kind := range []string{"app", "user"} {
		w := newWorld(b)
		for _, c := range []contender{naively, library} {
			b.Run(kind+"/"+c.name, func(b *testing.B) {
				entra := &instant{base: w.entra.Transport()}
				p := w.with(b, c, entra)
				t := &timed{ExportReplace: p.accessor}
				p.accessor = t
				if kind == "app" {
					p.http.Transport = entra // every call is to bring a token: no gate
				}
				app := w.app(b, p, tenantName(0))
				call := func() {
					// A challenge makes MSAL ask whatever it has.
					if _, err := app.AcquireTokenByCredential(context.Background(), scopes(graph), confidential.WithClaims(`{"access_token":{"nbf":{"essential":true}}}`)); err != nil {
						b.Fatal(err)
					}
				}
				if kind == "user" {
					call = func() { w.signIn(b, app) }
				}
				call()
				t.export.Store(0)
				before, bytes := w.commands()
				for b.Loop() {
					call()
				}
				after, bytesAfter := w.commands()
				ns := float64(t.export.Load()) / float64(b.N)
				b.ReportMetric(ns, "export-ns/op")
				results.add("store, "+kind, c.name, b.N, ns, "commands in Redis", float64(after-before-1)/float64(b.N), "bytes on the wire", float64(bytesAfter-bytes)/float64(b.N))
			})
		}
	}
}
