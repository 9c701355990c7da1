package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// client is one MSAL client of a contender, for many tenants or users, of each of which it has been asked once.
type client struct {
	contender
	*crowd
	known time.Duration // how long that took
	entra *instant
}

// clients are those of the contenders, for the tenants or users of the seeds; call asks a client for the ith. One that
// would take minutes until all are known is left out, and noted.
func (w *world) clients(
	b *testing.B, of string, seeds []seed, call func(app confidential.Client, i int) error,
) (all []client) {
	const soon = 10 * time.Second // by then a tenth should be known: the work grows with what is
	for _, c := range []contender{nothing, naively, library} {
		entra := &instant{base: w.entra.Transport()}
		app := w.app(b, w.knowing(b, c, entra, seeds), tenantName(0))
		begun, asked := time.Now(), 0
		for asked < len(seeds) && (time.Since(begun) < soon || asked > len(seeds)/10) {
			if err := call(app, asked); err != nil {
				b.Fatal(err)
			}
			asked++
		}
		if asked < len(seeds) {
			results.note(fmt.Sprintf("%s is left out with %d %s on one client: after %v it knew %d",
				c.name, len(seeds), of, soon, asked))
			continue
		}
		all = append(all, client{c, &crowd{call: func() error { return call(app, rand.IntN(len(seeds))) }},
			time.Since(begun), entra})
	}
	return all
}

// hits has the clients take turns with calls for what they know.
func hits(b *testing.B, workload string, all []client, goroutines, calls int) []float64 {
	turns := make([]turn, len(all))
	for i, c := range all {
		sent, failed := c.entra.n.Load(), c.failed.Load()
		turns[i] = turn{
			name: c.name, take: func() []float64 { return c.rush(goroutines, calls) },
			more: func() []any {
				return []any{"ms until all were known", ms(c.known), "token requests", float64(c.entra.n.Load() - sent),
					"errors", float64(c.failed.Load() - failed)}
			},
		}
	}
	return inTurns(b, workload, 0, turns...)
}

// grow is hits for the picture of how they grow, one call after the other.
func grow(b *testing.B, of string, all []client, n int) {
	for i, ns := range hits(b, hitAt(n, of), all, 1, 100) {
		results.growth("growth-"+of+"-hit.svg", all[i].name, n, ns/1e6)
		results.growth("growth-"+of+"-first.svg", all[i].name, n, ms(all[i].known)/float64(n))
	}
}

func hitAt(n int, of string) string {
	return fmt.Sprintf("%d %s, one client, one call after the other", n, of)
}
