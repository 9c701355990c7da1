package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/redis/go-redis/v9"
)

const newAssertion = "on-behalf-of, a new assertion, beside 1,000 app tokens"

// accessorAlone is this library without its gate: tokens are shared, and refreshes are not coordinated.
var accessorAlone = contender{"this library, accessor alone", func(at place, base http.RoundTripper) (process, error) {
	p, err := library.start(at, base)
	p.http = &http.Client{Transport: base}
	return p, err
}}

// fiveTrips is the floor of what asks Redis as often as the gate does before a caller has an answer that nobody has: a
// look, the lease, another look, the list of the user's answers, the answer. Nothing is sealed, and no script runs.
var fiveTrips = contender{"accessor that does nothing, five GETs", func(
	at place, base http.RoundTripper,
) (process, error) {
	rdb := redis.NewClient(&redis.Options{Addr: at.Redis})
	return process{rdb: rdb, accessor: noop{}, http: &http.Client{Transport: trips{base, rdb}}, close: func() {
		rdb.Close()
	}}, nil
}}

// trips is a transport that asks Redis five times at each request.
type trips struct {
	base http.RoundTripper
	rdb  *redis.Client
}

func (t trips) RoundTrip(req *http.Request) (*http.Response, error) {
	for range 5 {
		if err := t.rdb.Get(req.Context(), "absent").Err(); !errors.Is(err, redis.Nil) {
			return nil, err
		}
	}
	return t.base.RoundTrip(req)
}

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
	for _, c := range []contender{nothing, naively, library, accessorAlone, fiveTrips} {
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
