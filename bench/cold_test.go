package bench

import (
	"context"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// BenchmarkColdRead is what a new process waits for its tokens when they are in Redis: the first Replace of a new
// client. The naive accessor is the floor: a GET of one plain value and MSAL's own Unmarshal.
func BenchmarkColdRead(b *testing.B) {
	for _, kind := range []string{"app", "user"} {
		w := newWorld(b)
		for _, c := range []contender{naively, library} {
			b.Run(kind+"/"+c.name, func(b *testing.B) {
				first := w.app(b, w.with(b, c, w.entra.Transport()), tenantName(0))
				read := func(app confidential.Client) error {
					_, err := app.AcquireTokenByCredential(context.Background(), scopes(graph))
					return err
				}
				if kind == "user" {
					w.signIn(b, first)
					read = func(app confidential.Client) error {
						account, err := app.Account(context.Background(), user.HomeAccountID())
						if err == nil && account.HomeAccountID == "" {
							b.Error("the user is not there")
						}
						return err
					}
				} else if err := read(first); err != nil {
					b.Fatal(err)
				}
				base := w.entra.Transport()
				sent := w.entra.Count()
				t := &timed{}
				for b.Loop() {
					p := w.start(b, c, base)
					// A process that starts has connected to Redis before it needs a token.
					if err := p.rdb.Ping(context.Background()).Err(); err != nil {
						b.Fatal(err)
					}
					t.ExportReplace = p.accessor
					p.accessor = t
					if err := read(w.app(b, p, tenantName(0))); err != nil {
						b.Fatal(err)
					}
					p.close()
				}
				ns := float64(t.replace.Load()) / float64(b.N)
				b.ReportMetric(ns, "replace-ns/op")
				results.add("cold read, "+kind, c.name, b.N, ns, "token requests", float64(w.entra.Count()-sent))
			})
		}
	}
}
