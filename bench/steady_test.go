package bench

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

const steadyLoad = "steady load, 4 processes, 400 calls/s"

// BenchmarkSteadyLoad is a fleet under load while its token is refreshed ten times. The token lives 304 s, of which
// MSAL uses four: alone, it asks anew every four seconds; this library does when half of them are over. Its time is
// that of the call of which one in a hundred takes longer. It takes as long as it takes, whatever -benchtime says.
func BenchmarkSteadyLoad(b *testing.B) {
	const (
		processes = 4
		rate      = 100 // calls a second, of each
		window    = 22 * time.Second
		slow      = 20 * time.Millisecond
	)
	for _, c := range []contender{memory, naively, library} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			load := func() (calls []sample, requests []entratest.Request, written int) {
				writes, sent := w.writes(b), w.entra.Count()
				begin := time.Now().Add(200 * time.Millisecond)
				for _, o := range tell(b, w.spawned,
					order{Op: "load", Tenant: tenantName(0), Begin: begin, For: window, Rate: rate}) {
					calls = append(calls, o.Calls...)
				}
				return calls, w.entra.Requests()[sent:], w.writes(b) - writes
			}
			// The same without a refresh: a token of an hour.
			w.spawned = w.spawn(b, processes, c.name, tenantName(0))
			tell(b, w.spawned, order{Op: "hits", Tenant: tenantName(0), N: 1})
			// Longer than LocalTTL/2: with its first reading a fleet begins its change log, once in 28 hours.
			tell(b, w.spawned, order{Op: "load", Tenant: tenantName(0), Begin: time.Now(), For: 6 * time.Second, Rate: rate})
			quiet, _, quietWrites := load()

			w.entra.SetBehavior(func(e *entratest.Behavior) {
				e.Latency, e.AccessTokenLifetime = entraTakes, 304*time.Second
			})
			if err := w.rdb.FlushAll(context.Background()).Err(); err != nil {
				b.Fatal(err)
			}
			w.spawned = w.spawn(b, processes, c.name, tenantName(0))
			tell(b, w.spawned, order{Op: "hits", Tenant: tenantName(0), N: 1})
			calls, requests, writes := load()

			over := func(all []sample, d time.Duration) float64 {
				n := 0
				for _, s := range all {
					if s.Took > d {
						n++
					}
				}
				return float64(n)
			}
			refreshes := rounds(requests)
			took := make([]time.Duration, len(calls))
			for i, s := range calls {
				took[i] = s.Took
			}
			slices.Sort(took)
			p99 := took[len(took)*99/100]
			b.ReportMetric(float64(p99), "p99-ns")
			results.add(steadyLoad, c.name, 1, float64(p99),
				"calls", float64(len(calls)), "refreshes", float64(refreshes),
				"token requests per refresh", float64(len(requests))/float64(max(1, refreshes)),
				"calls over 20 ms", over(calls, slow), "calls over 20 ms without a refresh", over(quiet, slow),
				"calls that waited for Entra ID", over(calls, entraTakes*9/10),
				"ms the longest call", ms(took[len(took)-1]),
				"writes per refresh", float64(writes)/float64(max(1, refreshes)), "writes in a window without a refresh",
				float64(quietWrites))
			results.latencies(c.name, calls)
		})
	}
}

// rounds is how many times the fleet went to Entra ID: requests that overlap, or nearly, are one round.
func rounds(log []entratest.Request) int {
	slices.SortFunc(log, func(a, b entratest.Request) int { return a.Arrived.Compare(b.Arrived) })
	var until time.Time
	n := 0
	for _, r := range log {
		if r.Arrived.After(until.Add(time.Second)) {
			n++
		}
		until = r.Answered
	}
	return n
}

// writes is how many commands that write Redis has run, those of scripts too.
func (w *world) writes(b *testing.B) int {
	n := 0
	for command, calls := range w.calls(b) {
		switch command {
		case "set", "setex", "psetex", "mset", "getset", "getdel", "append", "incr", "incrby", "del", "unlink", "hset",
			"hsetnx", "hmset", "hdel", "hincrby", "sadd", "srem", "zadd", "zrem", "zremrangebyscore", "lpush", "rpush", "expire",
			"pexpire", "expireat", "pexpireat", "persist", "publish", "spublish":
			n += calls
		}
	}
	return n
}

// calls is how often Redis has run each command.
func (w *world) calls(b *testing.B) map[string]int {
	info, err := w.rdb.Info(context.Background(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	calls := map[string]int{}
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		calls[name], _ = strconv.Atoi(n)
	}
	return calls
}
