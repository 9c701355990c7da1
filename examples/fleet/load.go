package main

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// callTimeout bounds one AcquireToken, as a service's requests are bounded.
const callTimeout = 30 * time.Second

// run puts the load on: all goroutines at once.
func (s *service) run(ctx context.Context, l load) result {
	for _, t := range l.Tokens {
		if _, ok := s.clients[t.Tenant]; !ok {
			client, err := s.client(t.Tenant)
			if err != nil {
				return result{Errors: 1, FirstError: err.Error()}
			}
			s.clients[t.Tenant] = client
		}
	}
	results := make([]result, s.Goroutines)
	var all sync.WaitGroup
	for g := range s.Goroutines {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(s.Seed, uint64(s.Worker)<<32|uint64(g)))
			results[g] = s.caller(ctx, l, rng)
		})
	}
	var control []int64
	if s.System == thisLibrary && l.For > 0 {
		all.Go(func() { control = s.control(ctx, l) })
	}
	all.Wait()
	total := merge(results...)
	total.Control = control
	total.Sent = s.wire.take()
	return total
}

// control measures the machine while the load is on. It takes the two steps through Redis that a call takes which finds
// its token due and another instance asking: it wants the lease, and is told of the token. Neither the library nor
// Entra ID has a part in it, so what it takes is what a busy machine takes of such a call.
func (s *service) control(ctx context.Context, l load) (took []int64) {
	for ends := time.Now().Add(l.For); time.Now().Before(ends) && sleep(ctx, l.Pause); {
		begin := time.Now()
		for range 2 {
			_ = s.rdb.Get(ctx, s.Prefix+":control").Err()
		}
		took = append(took, time.Since(begin).Microseconds())
	}
	return took
}

// caller is one goroutine's part. Each has an order of its own, as requests to a service do.
func (s *service) caller(ctx context.Context, l load, rng *rand.Rand) (r result) {
	ends := time.Now().Add(l.For)
	for {
		for _, i := range rng.Perm(len(l.Tokens)) {
			if l.For > 0 && !sleep(ctx, time.Duration(rng.Int64N(int64(2*l.Pause)))) || ctx.Err() != nil {
				return r
			}
			r.ask(ctx, s.clients[l.Tokens[i].Tenant], l.Tokens[i])
			if l.For > 0 && time.Now().After(ends) {
				return r
			}
		}
		if l.For == 0 {
			return r
		}
	}
}

func (r *result) ask(ctx context.Context, client confidential.Client, t token) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	begin := time.Now()
	// It looks into the cache before it asks Entra ID: nothing else is to be called for an app's token.
	got, err := client.AcquireTokenByCredential(ctx, []string{t.Scope})
	switch {
	case err != nil:
		r.fail(err.Error())
	case got.AccessToken == "":
		r.fail("no error, and no token")
	default:
		r.Latencies = append(r.Latencies, time.Since(begin).Microseconds())
	}
}

func (r *result) fail(text string) {
	r.Errors++
	if r.FirstError == "" {
		r.FirstError = text[:min(len(text), 300)]
	}
}

func merge(results ...result) (total result) {
	for _, r := range results {
		total.Latencies = append(total.Latencies, r.Latencies...)
		total.Errors += r.Errors
		total.FirstError = cmp.Or(total.FirstError, r.FirstError)
		total.Control = append(total.Control, r.Control...)
		total.Sent = append(total.Sent, r.Sent...)
	}
	return total
}

// quantile is the smallest of the values that a share q of them does not exceed. It is exact: a histogram would save
// little here.
func quantile(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func milliseconds(sorted []int64, q float64) float64 { return float64(quantile(sorted, q)) / 1000 }

func sorted(values []int64) []int64 {
	out := slices.Clone(values)
	slices.Sort(out)
	return out
}

// sleep waits for d; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
