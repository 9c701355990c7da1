package main

import (
	"slices"
	"testing"
	"time"
)

// TestPromises gives each promise an outcome that keeps it and some that break it: a promise that cannot be broken
// would be none.
func TestPromises(t *testing.T) {
	cfg := &config{Workers: 2, Goroutines: 4, Tenants: 2, Scopes: 1, Latency: 100 * time.Millisecond,
		Life: 2 * time.Second, LockTTL: time.Second}
	a, b := cfg.tokens()[0], cfg.tokens()[1]
	at := func(worker int, tok token, after time.Duration) request {
		return request{worker, tok, time.Unix(1_800_000_000, 0).Add(after)}
	}
	once := []request{at(0, a, 0), at(1, b, 0)}
	for _, tt := range []struct {
		phase  string
		name   string
		sent   []request
		errors int
		max    time.Duration
		broken string // the promise; "": none
	}{
		{phase: "cold", name: "one each", sent: once},
		{phase: "cold", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "cold", name: "two for one", sent: append(once, at(1, a, time.Minute)),
			broken: "exactly one token request per tenant and scope"},
		{phase: "cold", name: "none for one", sent: once[:1], broken: "exactly one token request per tenant and scope"},

		{phase: "expiry", name: "a cycle apart", sent: append(once, at(0, a, time.Second), at(0, b, time.Second))},
		{phase: "expiry", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "expiry", name: "three at once", sent: append(once, at(0, a, 0), at(1, a, 0)),
			broken: "at most one token request per token and cycle, from its issue until it is due"},
		{phase: "expiry", name: "none for one", sent: once[:1],
			broken: "at most one token request per token and cycle, from its issue until it is due"},

		{phase: "refresh", name: "a cycle apart", sent: append(once, at(0, a, time.Second), at(0, b, time.Second))},
		{phase: "refresh", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "refresh", name: "three at once", sent: append(once, at(0, a, 0), at(1, a, 0)),
			broken: "at most one token request per token and cycle, from its issue until it is due"},
		{phase: "refresh", name: "a call waits", sent: once, max: 90 * time.Millisecond,
			broken: "of 100 calls 99 take less than half as long as Entra ID"},

		{phase: "down", name: "two tries", sent: append(once, once...)},
		{phase: "down", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "down", name: "ten tries", sent: slices.Repeat(once, 10),
			broken: "at most two tries per token and pause, which grows from one second"},

		{phase: "throttled", name: "one each", sent: once, errors: 5},
		{phase: "throttled", name: "everybody tries", sent: slices.Repeat(once, 10),
			broken: "at most one token request per token and pause"},

		{phase: "kill", name: "one dies, one comes after it", sent: []request{at(0, a, 0), at(1, a, time.Second)},
			max: 1200 * time.Millisecond},
		{phase: "kill", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "kill", name: "all come after it", sent: []request{at(0, a, 0), at(1, a, 0), at(1, a, 0)},
			broken: "at most one token request more than the one that died"},
		{phase: "kill", name: "they wait for ever", sent: once, max: time.Minute, broken: "the others go on within LockTTL"},

		{phase: "redis", name: "one each and process", sent: append(once, at(0, b, 0), at(1, a, 0))},
		{phase: "redis", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "redis", name: "two by one", sent: append(once, at(0, a, time.Second)),
			broken: "at most one token request per process and token"},
	} {
		t.Run(tt.phase+", "+tt.name, func(t *testing.T) {
			for _, sys := range allSystems {
				o := &outcome{Phase: tt.phase, System: sys.name, cfg: cfg}
				o.total.Latencies, o.total.Errors = []int64{max(1, tt.max.Microseconds())}, tt.errors
				o.settle(tt.sent)
				if tt.phase == "kill" && o.Tokens != 1 {
					t.Errorf("%d tokens", o.Tokens)
				}
				r := newReport(cfg, "a Redis")
				r.add(phaseNamed(tt.phase), o)
				if sys.name != thisLibrary {
					if !r.Kept || len(r.Promises) > 0 {
						t.Errorf("%s has promised nothing: %v", sys.title, r.Promises)
					}
					continue
				}
				if r.Kept != (tt.broken == "") || len(r.Promises) != len(phaseNamed(tt.phase).promises) {
					t.Errorf("kept: %v; %v", r.Kept, r.Promises)
				}
				for _, v := range r.Promises {
					if v.Kept != (v.Promise != tt.broken) {
						t.Errorf("kept: %v, of %v", v.Kept, v)
					}
				}
			}
		})
	}
}
