package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const manyUsersPaced = "1,000 users, one client, all known, 200 calls/s"

var manyUsers = hitAt(1_000, "users")

// BenchmarkUsers is what a web application does for each page, Account and AcquireTokenSilent, for one of many users on
// one client: one call after the other, which is when a naive accessor is at its quickest, from 10 to 10,000 users; and
// with 1,000 at a rate, for longer than what is known is relied on, with the mean as its time.
func BenchmarkUsers(b *testing.B) {
	w := newWorld(b)
	s := w.userSeed(b)
	for _, n := range []int{10, 100, 1_000, 10_000} {
		seeds := make([]seed, n)
		for i := range seeds {
			seeds[i] = s.as(i, user.ObjectID, objectID(i))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := w.clients(b, "users", seeds, silently)
			if n == 1_000 {
				for _, c := range all {
					b.Run("paced/"+c.name, func(b *testing.B) { paced(b, c) })
				}
			}
			b.Run("unpaced", func(b *testing.B) { grow(b, "users", all, n) })
		})
	}
}

// paced takes as long as it takes, whatever -benchtime says.
func paced(b *testing.B, c client) {
	const rate, calls = 200, 3_000
	failed := c.failed.Load()
	ns := mean(c.pace(calls, time.Second/rate))
	b.ReportMetric(ns, "mean-ns")
	results.add(manyUsersPaced, c.name, 1, ns, "ms until all were known", ms(c.known),
		"errors", float64(c.failed.Load()-failed))
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
