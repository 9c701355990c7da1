package bench

import (
	"context"
	"testing"
)

const (
	newClient      = "new client in a process that has the token"
	newClientGated = newClient + ", gate alone"
)

// BenchmarkNewClient is the first call of a new MSAL client in a process that has the token already: with the accessor,
// and by the gate alone, as a credential of the Azure SDK asks.
func BenchmarkNewClient(b *testing.B) {
	for _, workload := range []string{newClient, newClientGated} {
		b.Run(workload, func(b *testing.B) {
			w := newWorld(b)
			var turns []turn
			for _, c := range []contender{naively, library} {
				p := w.with(b, c, w.entra.Transport())
				if workload == newClientGated && c.name == library.name {
					p.accessor = nil
				}
				call := func() float64 {
					app := w.app(b, p, tenantName(0))
					return timedCalls(b, 1, func() error {
						_, err := app.AcquireTokenByCredential(context.Background(), scopes(graph))
						return err
					})[0]
				}
				call()
				const n = 50
				before, _ := w.commands()
				for range n {
					call()
				}
				after, _ := w.commands()
				turns = append(turns, turn{
					name: c.name, take: func() []float64 { return []float64{call()} },
					more: func() []any { return []any{"commands in Redis", float64(after-before-1) / n} },
				})
			}
			inTurns(b, workload, 0, turns...)
		})
	}
}
