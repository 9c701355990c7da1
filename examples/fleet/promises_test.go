package main

import (
	"bytes"
	"slices"
	"strings"
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
		phase   string
		name    string
		sent    []request
		errors  int
		max     time.Duration
		machine time.Duration // what the machine takes without Entra ID
		broken  string        // the promise; "": none
		unclear bool          // and one of them cannot be told
	}{
		{phase: "cold", name: "one each", sent: once},
		{phase: "cold", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "cold", name: "two for one", sent: append(once, at(1, a, time.Minute)),
			broken: "exactly one token request per tenant and scope"},
		{phase: "cold", name: "none for one", sent: once[:1], broken: "exactly one token request per tenant and scope"},

		{phase: "expiry", name: "when they are due", sent: append(once, at(0, a, time.Second), at(0, b, time.Second))},
		{phase: "expiry", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "expiry", name: "three at once", sent: append(once, at(0, a, 0), at(1, a, 0)),
			broken: "at most one token request each time a token comes due"},
		{phase: "expiry", name: "none for one", sent: once[:1],
			broken: "at most one token request each time a token comes due"},

		{phase: "refresh", name: "when they are due", sent: append(once, at(0, a, time.Second), at(0, b, time.Second))},
		{phase: "refresh", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "refresh", name: "three at once", sent: append(once, at(0, a, 0), at(1, a, 0)),
			broken: "at most one token request each time a token comes due"},
		{phase: "refresh", name: "a call waits", sent: once, max: 90 * time.Millisecond,
			broken: "of 100 calls 99 take less than half as long as Entra ID"},
		{phase: "refresh", name: "a busy machine", sent: once, max: 90 * time.Millisecond, machine: 45 * time.Millisecond},
		{phase: "refresh", name: "a call waits on a busy machine", sent: once, max: 110 * time.Millisecond,
			machine: 45 * time.Millisecond, broken: "of 100 calls 99 take less than half as long as Entra ID"},
		{phase: "refresh", name: "a machine as slow as Entra ID", sent: once, max: time.Minute,
			machine: 50 * time.Millisecond, unclear: true},
		{phase: "refresh", name: "three at once on a slow machine", sent: append(once, at(0, a, 0), at(1, a, 0)),
			machine: time.Second, broken: "at most one token request each time a token comes due"},

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
		{phase: "kill", name: "they wait for ever", sent: once, max: time.Minute,
			broken: "within LockTTL another one leads, and one token request later all have the token"},

		{phase: "redis", name: "one each and process", sent: append(once, at(0, b, 0), at(1, a, 0))},
		{phase: "redis", name: "an error", sent: once, errors: 1, broken: "no call fails"},
		{phase: "redis", name: "two by one", sent: append(once, at(0, a, time.Second)),
			broken: "at most one token request per process and token"},
	} {
		t.Run(tt.phase+", "+tt.name, func(t *testing.T) {
			for _, sys := range allSystems {
				o := &outcome{Phase: tt.phase, System: sys.name, cfg: cfg}
				o.total.Latencies, o.total.Errors = []int64{max(1, tt.max.Microseconds())}, tt.errors
				o.total.Control = []int64{tt.machine.Microseconds()}
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
				unclear := false
				for _, v := range r.Promises {
					if !v.Unclear && v.Kept != (v.Promise != tt.broken) {
						t.Errorf("kept: %v, of %v", v.Kept, v)
					}
					unclear = unclear || v.Unclear
				}
				if unclear != tt.unclear {
					t.Errorf("unclear: %v; %v", unclear, r.Promises)
				}
			}
		})
	}
}

// The table says of each phase that was played what happens in it, and its lines fit a terminal that is wide.
func TestTableExplainsItself(t *testing.T) {
	cfg, err := parseConfig([]string{"--full"}, func(string) string { return "" }, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(cfg, "a Redis")
	for _, ph := range allPhases[1:] {
		o := &outcome{Phase: ph.name, System: thisLibrary, cfg: cfg, processes: 9}
		o.total.Latencies = []int64{2_507_000}
		o.settle([]request{{Worker: 1, Token: cfg.tokens()[0], At: time.Unix(1_800_000_000, 0)}})
		r.add(ph, o)
	}
	var table bytes.Buffer
	if err := r.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, ph := range allPhases[1:] {
		if !strings.Contains(table.String(), ph.what) {
			t.Errorf("it does not say %q:\n%s", ph.what, &table)
		}
	}
	if strings.Contains(table.String(), allPhases[0].what) {
		t.Errorf("it explains what was not played:\n%s", &table)
	}
	for _, want := range []string{"p50 is theirs", "the longest call took 2507 ms", "8 workers and the one that joined"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &table)
		}
	}
	legend, _, _ := strings.Cut(table.String(), "The library's promises")
	for line := range strings.Lines(legend) {
		if len(line) > 140 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}
