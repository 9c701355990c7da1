package bench

import (
	"context"
	"fmt"
	"testing"
)

func newTokenAt(scopes int) string {
	return fmt.Sprintf("new token in a tenant with %d scopes", scopes)
}
func coldReadAt(scopes int) string {
	return fmt.Sprintf("cold read of a tenant with %d scopes", scopes)
}

// BenchmarkScopes is a new token, the whole call, in a tenant of which the client has many; and the first Replace of
// another instance that wants one of that tenant. MSAL's own work grows with what is there: it searches, writes and
// reads all of it.
func BenchmarkScopes(b *testing.B) {
	w := newWorld(b)
	s := w.appSeed(b)
	for i, n := range []int{10, 30, 100, 300, 1_000, 3_000} { // each a tenant of its own, of which a process knows nothing
		w.many(b, s.tenant(i+1, n), tenantName(i+1), n)
	}
}

// newTokens is how many are made: more would make a tenant with 100 scopes another one.
const newTokens = 20

// many measures both for one tenant.
func (w *world) many(b *testing.B, s seed, tenant string, n int) {
	seeds := []seed{s}
	b.Run(fmt.Sprintf("%d/cold", n), func(b *testing.B) {
		var turns []turn
		for _, c := range []contender{naively, library} {
			w.knowing(b, c, w.entra.Transport(), seeds)
			turns = append(turns, turn{name: c.name, take: func() []float64 { return w.coldRead(b, c, tenant) }})
		}
		for i, ns := range inTurns(b, coldReadAt(n), 0, turns...) {
			results.growth("growth-scopes-cold.svg", turns[i].name, n, ns/1e6)
		}
	})
	b.Run(fmt.Sprintf("%d/new", n), func(b *testing.B) {
		var turns []turn
		for _, c := range []contender{nothing, onlyMarshals, naively, library} {
			app := w.app(b, w.knowing(b, c, &instant{base: w.entra.Transport()}, seeds), tenant)
			next := n
			call := func() error {
				next++
				_, err := app.AcquireTokenByCredential(context.Background(), scopes(resource(next)))
				return err
			}
			timedCalls(b, 1, call) // the endpoints are known, and the tenant's tokens
			turns = append(turns, turn{name: c.name, take: func() []float64 { return timedCalls(b, 1, call) }})
		}
		for i, ns := range inTurns(b, newTokenAt(n), newTokens, turns...) {
			results.growth("growth-scopes-new.svg", turns[i].name, n, ns/1e6)
		}
	})
}

// coldRead is what the first Replace takes of a new process that is connected to Redis.
func (w *world) coldRead(b *testing.B, c contender, tenant string) []float64 {
	p := w.start(b, c, w.entra.Transport())
	defer p.close()
	if err := p.rdb.Ping(context.Background()).Err(); err != nil {
		b.Fatal(err)
	}
	t := &timed{ExportReplace: p.accessor}
	p.accessor = t
	if _, err := w.app(b, p, tenant).AcquireTokenByCredential(context.Background(), scopes(resource(0))); err != nil {
		b.Fatal(err)
	}
	return []float64{float64(t.replace)}
}
