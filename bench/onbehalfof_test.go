package bench

import (
	"context"
	"fmt"
	"net/http"
	"testing"
)

const newAssertion = "on-behalf-of, a new assertion, beside 1,000 app tokens"

// accessorAlone is this library without its gate: tokens are shared, and refreshes are not coordinated.
var accessorAlone = contender{"this library, accessor alone", func(at place, base http.RoundTripper) (process, error) {
	p, err := library.start(at, base)
	p.http = &http.Client{Transport: base}
	return p, err
}}

// BenchmarkOnBehalfOf is a call on behalf of a caller whom the web API has not met, where its client also has 1,000
// tokens of the app itself.
func BenchmarkOnBehalfOf(b *testing.B) {
	const tokens = 1_000
	w := newWorld(b)
	seeds := []seed{w.appSeed(b).tenant(0, tokens)}
	assertion, err := w.entra.UserToken(clientID, user.Username, "")
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	var turns []turn
	for _, c := range []contender{nothing, naively, library, accessorAlone} {
		entra := &instant{base: w.entra.Transport()}
		app := w.app(b, w.knowing(b, c, entra, seeds), tenantName(0))
		if _, err := app.AcquireTokenByCredential(ctx, scopes(resource(0))); err != nil { // they are in its memory
			b.Fatal(err)
		}
		next := 0
		call := func() error {
			next++ // after the first, which the emulator looks at, the end of the signature makes it another caller's
			other := assertion[:len(assertion)-16] + fmt.Sprintf("%016d", next)
			if next == 1 {
				other = assertion
			}
			_, err := app.AcquireTokenOnBehalfOf(ctx, other, scopes(userScope))
			return err
		}
		timedCalls(b, 2, call)
		turns = append(turns, turn{name: c.name, take: func() []float64 { return timedCalls(b, 1, call) }})
	}
	inTurns(b, newAssertion, 200, turns...)
}
