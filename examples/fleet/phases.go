package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// A phase is what happens to the fleet, and what the library promises about it.
type phase struct {
	name, title, what string
	note              string // what the numbers do not say
	emulatorOnly      bool
	isShort           bool                        // played without --full too
	takes             func(*config) time.Duration // about, with one system
	act               func(context.Context, *stage) error
	promises          []promise
}

// A promise is checked against what was counted; found says what that was. unclear, where there is one, tells that the
// machine was too slow for a promise about time to be called broken.
type promise struct {
	text    string
	kept    func(*outcome) (ok bool, found string)
	unclear func(*outcome) bool
}

// stage is where a phase plays: one system, its fleet, and its own corner of Redis.
type stage struct {
	*demo
	*outcome
	system   system
	prefix   string
	fleet    *fleet
	reported []request
}

// load puts a load on the whole fleet and adds what came of it to the outcome.
func (s *stage) load(ctx context.Context, f *fleet, l load) error {
	r, err := f.load(ctx, l)
	s.total = merge(s.total, r)
	s.reported = append(s.reported, r.Sent...)
	return err
}

var noErrors = promise{text: "no call fails", kept: func(o *outcome) (bool, string) {
	if o.Errors == 0 {
		return true, fmt.Sprintf("%d calls, no error", o.Calls)
	}
	return false, fmt.Sprintf("%d of %d calls failed: %s", o.Errors, o.Calls, o.FirstError)
}}

// fewWait: a call that waits for Entra ID takes as long as Entra ID. Half of that tells those that wait from those that
// do not, on top of what the machine takes of a call that has nothing to do with Entra ID (control). Where the machine
// alone takes as much, times tell nothing: with so many waiting for a processor one slow step becomes many.
var fewWait = promise{
	text: "of 100 calls 99 take less than half as long as Entra ID",
	kept: func(o *outcome) (bool, string) {
		return o.P99 < o.halfOfEntra()+o.Machine,
			fmt.Sprintf("p99 %.1f ms, of which this machine takes %.1f ms without Entra ID; max %.0f ms; Entra ID takes %v",
				o.P99, o.Machine, o.Max, o.cfg.Latency)
	},
	unclear: func(o *outcome) bool { return o.Machine >= o.halfOfEntra() },
}

func (o *outcome) halfOfEntra() float64 { return float64(o.cfg.Latency/2) / 1e6 }

var allPhases = []*phase{
	{
		name: "cold", title: "cold start",
		isShort: true,
		takes:   func(c *config) time.Duration { return c.Latency },
		what:    "all goroutines of all workers ask for all tokens, and nobody has one",
		act: func(ctx context.Context, s *stage) error {
			return s.load(ctx, s.fleet, load{Tokens: s.tokens()})
		},
		promises: []promise{noErrors,
			{text: "exactly one token request per tenant and scope", kept: exactlyOnePerToken}},
	},
	{
		name: "expiry", title: "expiry", emulatorOnly: true,
		takes:    func(c *config) time.Duration { return c.Life + c.Life/4 },
		what:     "everybody has every token; a steady load goes on while they expire (--life)",
		act:      expire,
		promises: []promise{noErrors, {text: "at most one token request each time a token comes due", kept: onePerDue}},
	},
	{
		name: "refresh", title: "refresh under load", emulatorOnly: true,
		isShort: true,
		takes:   func(c *config) time.Duration { return c.refreshFor() },
		what:    "a steady load for two lives of the tokens (--full: three), which are refreshed half-way through each",
		act:     refresh,
		promises: []promise{noErrors, fewWait,
			{text: "at most one token request each time a token comes due", kept: onePerDue}},
	},
	{
		name: "down", title: "Entra ID down", emulatorOnly: true,
		takes: func(c *config) time.Duration { return 2*c.Life + c.Life/4 },
		what:  "everybody has every token; from half of its usable life on Entra ID answers 503, for twice that life",
		act:   entraDown,
		promises: []promise{noErrors, {text: "at most two tries per token and pause, which grows from one second",
			kept: func(o *outcome) (bool, string) {
				// Pauses of 1, 2, 4 s and so on fit into the time, and each try is repeated once.
				pauses := 1
				for sum, pause := time.Duration(0), time.Second; sum < 2*o.cfg.Life; pause *= 2 {
					sum += pause
					pauses++
				}
				return o.Requests <= 2*pauses*o.Tokens, fmt.Sprintf("%d token requests for %d tokens", o.Requests, o.Tokens)
			}}},
	},
	{
		name: "throttled", title: "throttled", emulatorOnly: true,
		takes: func(*config) time.Duration { return throttledFor + 2*throttlePause },
		what:  "nobody has a token; Entra ID answers 429 and wants a pause of a second, for two",
		act:   throttled,
		promises: []promise{{text: "at most one token request per token and pause", kept: func(o *outcome) (bool, string) {
			most := (int(throttledFor/throttlePause) + 2) * o.Tokens
			return o.Requests <= most, fmt.Sprintf("%d token requests for %d tokens", o.Requests, o.Tokens)
		}}, {text: "in the end there is a token", kept: func(o *outcome) (bool, string) {
			return o.Calls > o.Errors, fmt.Sprintf("%d calls with a token", o.Calls-o.Errors)
		}}},
	},
	{
		name: "kill", title: "leader killed", emulatorOnly: true,
		isShort: true,
		takes:   func(c *config) time.Duration { return c.Latency + c.LockTTL },
		what:    "all ask for one token; the worker that sends the first token request is killed before it is answered",
		note: "With the library that worker is the leader: it holds the lease, and asks for all. The others wait until the " +
			"lease\nends, LockTTL after it was last renewed. Without the library each asks for itself and waits for nobody: " +
			"faster\nhere, with many more token requests. The calls of the killed worker are not counted.",
		act: killLeader,
		promises: []promise{noErrors, {text: "at most one token request more than the one that died",
			kept: func(o *outcome) (bool, string) {
				return o.Requests <= 2, fmt.Sprintf("%d token requests", o.Requests)
			}}, {text: "within LockTTL another one leads, and one token request later all have the token",
			kept: func(o *outcome) (bool, string) {
				bound := atMost(o.cfg.LockTTL + 2*o.cfg.Latency)
				return o.Max <= float64(bound.Milliseconds()),
					fmt.Sprintf("the longest call took %.0f ms from its start: LockTTL is %v, a token request takes %v, and what "+
						"%d goroutines do on this machine takes time too; broken above %v", o.Max, o.cfg.LockTTL, o.cfg.Latency,
						o.cfg.Workers*o.cfg.Goroutines, bound)
			}}},
	},
	{
		name: "redis", title: "Redis away and back",
		isShort: true,
		takes:   func(*config) time.Duration { return recovery + 2*time.Second },
		what:    "Redis goes away, all ask for all tokens, half of them new; Redis comes back, a worker joins, all ask again",
		note:    "The worker that joins has nothing in memory: it finds in Redis what the others have brought there.",
		act:     redisAway,
		promises: []promise{noErrors, {text: "at most one token request per process and token",
			kept: onePerProcessAndToken}},
	},
}

func phaseNames() []string { return namesOf(func(*phase) bool { return true }) }

func shortPhases() []string { return namesOf(func(ph *phase) bool { return ph.isShort }) }

func namesOf(which func(*phase) bool) (out []string) {
	for _, ph := range allPhases {
		if which(ph) {
			out = append(out, ph.name)
		}
	}
	return out
}

func phaseNamed(name string) *phase {
	for _, ph := range allPhases {
		if ph.name == name {
			return ph
		}
	}
	return nil
}

// msalReserve is how long before its end MSAL stops using a token.
const msalReserve = 5 * time.Minute

// expire lets everybody have every token, and then counts what a steady load costs for one and a quarter of their
// lives. Without the library all tokens are found expired at once. With it they are renewed half-way through
// (Options.RefreshAt) while they still serve, and no caller meets their end.
func expire(ctx context.Context, s *stage) error {
	s.entra.emulator.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = msalReserve + s.Life })
	if err := s.load(ctx, s.fleet, load{Tokens: s.tokens()}); err != nil {
		return err
	}
	s.total, s.reported = result{}, nil
	s.entra.emulator.ResetRequests()
	return s.load(ctx, s.fleet, load{Tokens: s.tokens(), For: s.Life + s.Life/4, Pause: 50 * time.Millisecond})
}

// refresh keeps a steady load on tokens that come due again and again.
func refresh(ctx context.Context, s *stage) error {
	s.entra.emulator.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = msalReserve + s.Life })
	if err := s.load(ctx, s.fleet, load{Tokens: s.tokens()}); err != nil {
		return err
	}
	s.total, s.reported = result{}, nil
	s.entra.emulator.ResetRequests()
	return s.load(ctx, s.fleet, load{Tokens: s.tokens(), For: s.refreshFor(), Pause: 50 * time.Millisecond})
}

// entraDown lets Entra ID fail from half of the tokens' usable life on, until well into their last five minutes.
func entraDown(ctx context.Context, s *stage) error {
	s.entra.emulator.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = msalReserve + s.Life })
	if err := s.load(ctx, s.fleet, load{Tokens: s.tokens()}); err != nil {
		return err
	}
	s.total, s.reported = result{}, nil
	s.entra.emulator.ResetRequests()
	sleep(ctx, s.Life/4)
	defer s.entra.emulator.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})()
	return s.load(ctx, s.fleet, load{Tokens: s.tokens(), For: 2 * s.Life, Pause: 50 * time.Millisecond})
}

const (
	throttlePause = time.Second
	throttledFor  = 2 * time.Second
)

// throttled lets Entra ID throttle everybody for a while.
func throttled(ctx context.Context, s *stage) error {
	remove := s.entra.emulator.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "1"})
	timer := time.AfterFunc(throttledFor, remove)
	defer timer.Stop()
	defer remove()
	return s.load(ctx, s.fleet, load{Tokens: s.tokens(), For: throttledFor + 2*throttlePause,
		Pause: 50 * time.Millisecond})
}

// killLeader holds the first token request at the emulator, kills its sender, and lets go.
func killLeader(ctx context.Context, s *stage) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var taken atomic.Bool
	remove := s.entra.emulator.OnTokenRequest(func(r entratest.Request) {
		if !taken.CompareAndSwap(false, true) {
			return
		}
		worker, err := workerOf(r)
		if err == nil {
			sleep(ctx, s.Latency/2)
			err = s.fleet.kill(worker)
		}
		if err != nil {
			cancel(err)
		}
	})
	defer remove()
	err := s.load(ctx, s.fleet, load{Tokens: s.tokens()[:1]})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// recovery is how long a library may take to notice that Redis is back: its probes are two to three seconds apart after
// an absence of seconds.
const recovery = 3 * time.Second

func redisAway(ctx context.Context, s *stage) error {
	defer s.redis.proxy.mend()
	tokens := s.tokens()
	if half := tokens[:len(tokens)/2]; len(half) > 0 {
		if err := s.load(ctx, s.fleet, load{Tokens: half}); err != nil {
			return err
		}
	}
	s.redis.proxy.cut()
	if err := s.load(ctx, s.fleet, load{Tokens: tokens}); err != nil {
		return err
	}
	s.redis.proxy.mend()
	if s.system.name == thisLibrary { // the others ask Redis at every call
		sleep(ctx, recovery)
	}
	// One that has nothing in memory, and finds in Redis what the others have brought there meanwhile.
	joined, err := s.launch(ctx, s.Workers, 1)
	if err != nil {
		return err
	}
	s.fleet.workers = append(s.fleet.workers, joined.workers...)
	return s.load(ctx, s.fleet, load{Tokens: tokens})
}

func exactlyOnePerToken(o *outcome) (bool, string) {
	perToken := tally(o.sent, func(r request) any { return r.Token })
	for t, n := range perToken {
		if n != 1 {
			return false, fmt.Sprintf("%d token requests for %v, %d in all for %d tokens", n, t, o.Requests, o.Tokens)
		}
	}
	return len(perToken) == o.Tokens, fmt.Sprintf("%d token requests for %d tokens", o.Requests, o.Tokens)
}

// onePerDue: the library asks again when half of a token's life has passed, in whole seconds as refresh_in is. MSAL
// keeps the time at which a token is due without its fraction of a second, so each request comes at the earliest that
// many seconds after the second in which the one before arrived: of n requests the last arrives more than (n-1)*due
// less one second after the first. A slow machine only makes that more. It must not be made less strict: more requests
// in the time are needless ones.
func onePerDue(o *outcome) (bool, string) {
	due := max(time.Second, (o.cfg.Life / 2).Truncate(time.Second))
	arrived := map[token][]time.Time{}
	for _, r := range o.sent {
		arrived[r.Token] = append(arrived[r.Token], r.At)
	}
	for t, at := range arrived {
		slices.SortFunc(at, time.Time.Compare)
		span := at[len(at)-1].Sub(at[0])
		if most := 1 + int((span+time.Second)/due); len(at) > most {
			return false, fmt.Sprintf("%d token requests for %v in %v, %d in all", len(at), t,
				span.Round(time.Millisecond), o.Requests)
		}
	}
	return len(arrived) == o.Tokens, fmt.Sprintf("%d token requests for %d tokens, each due %v after its issue",
		o.Requests, o.Tokens, due)
}

func onePerProcessAndToken(o *outcome) (bool, string) {
	for key, n := range tally(o.sent, func(r request) any { return [2]any{r.Worker, r.Token} }) {
		if n > 1 {
			return false, fmt.Sprintf("%d token requests by worker and for token %v", n, key)
		}
	}
	byJoined := 0
	for _, r := range o.sent {
		if r.Worker == o.cfg.Workers {
			byJoined++
		}
	}
	return true, fmt.Sprintf("%d token requests for %d tokens by %d processes: %d workers and the one that joined, which "+
		"sent %d", o.Requests, o.Tokens, o.processes, o.cfg.Workers, byJoined)
}

func tally(sent []request, key func(request) any) map[any]int {
	n := map[any]int{}
	for _, r := range sent {
		n[key(r)]++
	}
	return n
}
