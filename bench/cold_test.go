package bench

import (
	"context"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// BenchmarkColdRead is what a new process waits for its tokens when they are in Redis: the first Replace of a new
// client. The naive accessor is the floor: a GET of one plain value and MSAL's own Unmarshal. The contenders take
// turns, and the time is the median, so that what else the machine does touches both alike.
func BenchmarkColdRead(b *testing.B) {
	for _, kind := range []string{"app", "user"} {
		b.Run(kind, func(b *testing.B) {
			w := newWorld(b)
			read := func(app confidential.Client) error {
				_, err := app.AcquireTokenByCredential(context.Background(), scopes(graph))
				return err
			}
			if kind == "user" {
				read = func(app confidential.Client) error {
					account, err := app.Account(context.Background(), user.HomeAccountID())
					if err == nil && account.HomeAccountID == "" {
						b.Error("the user is not there")
					}
					return err
				}
			}
			contenders := []contender{naively, byScript, library}
			for _, c := range contenders {
				first := w.app(b, w.with(b, c, w.entra.Transport()), tenantName(0))
				if kind == "user" {
					w.signIn(b, first)
				} else if err := read(first); err != nil {
					b.Fatal(err)
				}
			}
			base := w.entra.Transport()
			sent := w.entra.Count()
			took := make([][]float64, len(contenders))
			for b.Loop() {
				for i, c := range contenders {
					p := w.start(b, c, base)
					// A process that starts has connected to Redis before it needs a token.
					if err := p.rdb.Ping(context.Background()).Err(); err != nil {
						b.Fatal(err)
					}
					t := &timed{ExportReplace: p.accessor}
					p.accessor = t
					if err := read(w.app(b, p, tenantName(0))); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], float64(t.replace))
					p.close()
				}
			}
			for i, c := range contenders {
				ns := median(took[i])
				b.ReportMetric(ns, strings.ReplaceAll(c.name, " ", "-")+"-ns/op")
				results.add("cold read, "+kind, c.name, b.N, ns, "token requests", float64(w.entra.Count()-sent))
			}
		})
	}
}
