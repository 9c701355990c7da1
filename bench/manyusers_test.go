package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const (
	manyUsers      = "1,000 users, one client, all known, one call after the other"
	manyUsersPaced = "1,000 users, one client, all known, 200 calls/s"
)

// BenchmarkUsers is what a web application does for each page, Account and AcquireTokenSilent, for one of 1,000 users
// on one client: at a rate, for longer than what is known is relied on, with the mean as its time; and one after the
// other, which is when a naive accessor is at its quickest.
func BenchmarkUsers(b *testing.B) {
	const users, rate, calls = 1_000, 200, 3_000
	w := newWorld(b)
	s := w.userSeed(b)
	seeds := make([]seed, users)
	for i := range seeds {
		seeds[i] = s.as(i, user.ObjectID, objectID(i))
	}
	type client struct {
		contender
		*crowd
		known time.Duration
	}
	var clients []client
	for _, c := range []contender{nothing, naively, library} {
		app := w.app(b, w.knowing(b, c, &instant{base: w.entra.Transport()}, seeds), tenantName(0))
		begun, next := time.Now(), 0
		timedCalls(b, users, func() error { next++; return silently(app, next-1) })
		all := &crowd{call: func() error { return silently(app, rand.IntN(users)) }}
		clients = append(clients, client{c, all, time.Since(begun)})
	}
	for _, c := range clients {
		b.Run("paced/"+c.name, func(b *testing.B) {
			failed := c.failed.Load()
			ns := mean(c.pace(calls, time.Second/rate))
			b.ReportMetric(ns, "mean-ns")
			results.add(manyUsersPaced, c.name, 1, ns,
				"ms until all were known", ms(c.known), "errors", float64(c.failed.Load()-failed))
		})
	}
	b.Run("unpaced", func(b *testing.B) {
		var turns []turn
		for _, c := range clients {
			failed := c.failed.Load()
			turns = append(turns, turn{
				name: c.name, take: func() []float64 { return c.rush(1, 50) },
				more: func() []any { return []any{"errors", float64(c.failed.Load() - failed)} },
			})
		}
		inTurns(b, manyUsers, 0, turns...)
	})
}

func objectID(i int) string { return fmt.Sprintf("%08d-0000-4000-8000-00000000000b", i) }

// silently is a user's token that the client has.
func silently(app confidential.Client, i int) error {
	account, err := app.Account(context.Background(), objectID(i)+"."+user.TenantID)
	if err != nil {
		return err
	}
	_, err = app.AcquireTokenSilent(context.Background(), scopes(userScope), confidential.WithSilentAccount(account))
	return err
}
