package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const idleFleet = "idle fleet, 4 processes, 10 s"

// BenchmarkWire is what a call costs Redis, by its own count: commands, those within scripts too, and bytes in and out.
// Its time means nothing.
func BenchmarkWire(b *testing.B) {
	ctx := context.Background()
	for _, c := range []contender{naively, library} {
		for _, kind := range []string{"hit", "cold read", "refresh"} {
			b.Run(fmt.Sprintf("%s/%s", kind, c.name), func(b *testing.B) {
				w := newWorld(b)
				p := w.with(b, c, w.entra.Transport())
				app := w.app(b, p, tenantName(0))
				acquire := func(app confidential.Client, opts ...confidential.AcquireByCredentialOption) {
					if _, err := app.AcquireTokenByCredential(ctx, scopes(graph), opts...); err != nil {
						b.Fatal(err)
					}
				}
				acquire(app)
				const n = 50
				processes := make([]process, n) // connected beforehand
				for i := range processes {
					if kind == "cold read" {
						processes[i] = w.with(b, c, w.entra.Transport())
						if err := processes[i].rdb.Ping(ctx).Err(); err != nil {
							b.Fatal(err)
						}
					}
				}
				commands, bytes := w.commands()
				for i := range n {
					switch kind {
					case "hit":
						acquire(app)
					case "cold read":
						acquire(w.app(b, processes[i], tenantName(0)))
					case "refresh": // a challenge makes MSAL ask whatever it has
						acquire(app, confidential.WithClaims(fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, i)))
					}
				}
				commandsNow, bytesNow := w.commands()
				for b.Loop() {
				}
				results.add("Redis, one "+kind, c.name, 1, 0,
					"commands", float64(commandsNow-commands-1)/n, "bytes", float64(bytesNow-bytes)/n)
			})
		}
	}
}

// BenchmarkIdleFleet is what a fleet that nobody asks for tokens sends to Redis, after it was asked. Its time means
// nothing.
func BenchmarkIdleFleet(b *testing.B) {
	w := newWorld(b)
	workers := w.spawn(b, 4, library.name, tenantName(0))
	tell(b, workers, order{Op: "hits", Tenant: tenantName(0), N: 100})
	time.Sleep(time.Second) // what the last call has left to do
	before := w.calls(b)
	time.Sleep(10 * time.Second)
	other, pings := 0, 0
	for name, n := range w.calls(b) {
		switch n -= before[name]; name {
		case "info":
		case "ping":
			pings += n
		default:
			other += n
		}
	}
	for b.Loop() {
	}
	results.add(idleFleet, library.name, 1, 0, "commands but PING", float64(other), "PING", float64(pings))
}
