package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// scenario is a short life of a fleet, in seconds after its beginning: all start, then nothing happens, then all tokens
// become due, and then one tenant's are forgotten.
type scenario struct {
	Fleet
	quiet, due, gone, end int // when each part begins; quiet 0: the first two parts after the start are left out
}

// fleetOf is a fleet that two processors bear, with times short enough for a test. OpTimeout is what a process may be
// starved for without taking Redis for away.
func fleetOf(instances, tenants int) Fleet {
	f := defaults()
	f.Instances, f.Apps, f.Every, f.Within = instances, tenants, 1500*time.Millisecond, 1500*time.Millisecond
	f.LocalTTL, f.LockTTL, f.OpTimeout = 4*time.Second, 5*time.Second, 2*time.Second
	f.Entra, f.RoundTrip = time.Second, 2*time.Millisecond
	return f
}

// Few processes: what is asked for when all start, and when one tenant's tokens are forgotten, is as simulated.
func TestFleet(t *testing.T) {
	s := scenario{Fleet: fleetOf(4, 4), gone: 3, end: 6}
	s.run(t)
}

// More processes, with a common expiry as well. Of the largest fleet each process calls more seldom, for all share the
// processors of one machine.
func TestLongFleet(t *testing.T) {
	long.Test(t)
	large := fleetOf(64, 8)
	large.Every, large.Within, large.LocalTTL = 4*time.Second, 4*time.Second, 12*time.Second
	large.OpTimeout = 5 * time.Second
	for _, s := range []scenario{
		{Fleet: fleetOf(16, 8), quiet: 50, due: 74, gone: 128, end: 146},
		{Fleet: large, quiet: 72, due: 108, gone: 170, end: 188},
	} {
		t.Run(fmt.Sprint(s.Instances, " processes"), func(t *testing.T) {
			s.Life = lastMinutes + time.Duration(float64(s.due)*float64(time.Second)/s.RefreshAt)
			s.run(t)
		})
	}
}

// part is one part of a scenario, measured and simulated.
type part struct {
	what               string
	from, to           int
	measured           counts
	simulated          counts
	requests, expected int
}

// within is how far the sums may be apart. The simulation has no processors that are short: a process that gets none
// for half a second looks at other times. A few commands more or less come of uses at the edges of a part.
const (
	within = 0.25
	atEdge = 4 // commands for each process and part
)

func (s scenario) run(t *testing.T) {
	server := redistest.Start(t)
	w := harness.WorldOn(t, harness.Alone(t, server, harness.Address{}))
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime, b.Latency = s.Life, s.Entra })
	empty := info(t, w)
	members := s.start(t, w)
	begin := time.Now().Truncate(time.Second).Add(2 * time.Second)
	s.tell(t, members, func(i int) order {
		return order{Op: "use", Phase: s.Within * time.Duration(i) / time.Duration(s.Instances), Begin: begin,
			End: begin.Add(time.Duration(s.end) * time.Second)}
	})
	at := func(second int) { harness.WaitUntil(begin.Add(time.Duration(second) * time.Second)) }
	at(0)
	before := info(t, w)
	at(s.gone - 1)
	s.look(t, w, empty)
	// Between two uses: who asks while a removal is on its way may ask for what it ends, and then asks once more.
	harness.WaitUntil(begin.Add(time.Duration(s.gone)*time.Second + s.Within/time.Duration(2*s.Instances)))
	s.tell(t, members[:1], func(int) order { return order{Op: "forget"} })
	at(s.end + 1)
	sent := make([]counts, s.end+1)
	calls := 0
	for _, o := range s.tell(t, members, func(int) order { return order{Op: "tell"} }) {
		calls += o.Calls
		for i := range o.Sent {
			sent[i].add(o.Sent[i], 1)
		}
	}
	requests := make([]int, s.end+1)
	for _, r := range w.Entra.Requests() {
		requests[min(max(0, int(r.Arrived.Sub(begin)/time.Second)), s.end)]++
	}
	after := info(t, w)
	took := 0.0
	for _, what := range []string{"used_cpu_user", "used_cpu_sys"} {
		took += after[what] - before[what]
	}
	t.Logf("%d processes, %d tenants: %d calls; Redis's process took %.2f s", s.Instances, s.Apps, calls, took)
	s.compare(t, sent, requests)
}

// start starts the members a few at a time, and has each know its tenants' endpoints.
func (s scenario) start(t *testing.T, w *harness.World) (members []*member) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for range s.Instances {
		m, err := subprocess.Start[order, outcome](subprocess.Spec{Role: memberRole, Log: harness.Canary, Setup: place{
			Redis: w.Redis.Address.Addrs[0], Prefix: w.Prefix, Keys: w.Keys, Entra: w.Entra.Host(),
			CA: string(w.Entra.CAPEM()), Fleet: s.Fleet,
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := m.End(ctx); err != nil {
				t.Error(err)
			}
		})
		if err := m.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		s.tell(t, []*member{m}, func(int) order { return order{Op: "warm"} })
		members = append(members, m)
	}
	return members
}

// tell gives each member an order and returns the outcomes.
func (s scenario) tell(t *testing.T, members []*member, o func(i int) order) (all []outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, m := range members {
		out, err := m.Do(ctx, o(i))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range out.Errors {
			t.Errorf("process %d: %s", i, text)
		}
		all = append(all, out)
	}
	return all
}

// look holds what Redis says of its clients and its memory against what is reckoned.
func (s scenario) look(t *testing.T, w *harness.World, empty map[string]float64) {
	t.Helper()
	now, want := info(t, w), s.connections()
	clients := int(now["connected_clients"] - empty["connected_clients"])
	if clients < want[0] || clients > want[1] {
		t.Errorf("%d connections, want %v", clients, want)
	}
	channel := w.Prefix + ":v1:changes"
	heard, err := w.Redis.Admin.PubSubNumSub(context.Background(), channel).Result()
	if err != nil {
		t.Fatal(err)
	}
	if got := heard[channel]; got != int64(s.Instances) {
		t.Errorf("%d hear of removals, want %d", got, s.Instances)
	}
	memory := int(now["used_memory"] - empty["used_memory"])
	reckoned := bytesAtFirst + s.Apps*bytesOfApp + clients*bytesOfConnection
	t.Logf("%d connections; %d bytes of memory, reckoned %d", clients, memory, reckoned)
	if memory > 2*reckoned { // most of it is buffers of connections, which Redis makes and gives back as it likes
		t.Errorf("%d bytes of memory, want about %d", memory, reckoned)
	}
}

// compare holds the simulation against what was measured, part by part.
func (s scenario) compare(t *testing.T, sent []counts, requests []int) {
	t.Helper()
	parts := []part{{what: "start", to: s.quiet}, {what: "quiet", from: s.quiet, to: s.due},
		{what: "due", from: s.due, to: s.gone}, {what: "gone", from: s.gone, to: s.end}}
	if s.quiet == 0 {
		parts = []part{{what: "start", to: s.gone}, parts[3]}
	}
	simulated := s.simulated()
	for _, p := range parts {
		for i := p.from; i < p.to; i++ {
			p.measured.add(sent[i], 1)
			p.simulated.add(simulated[i].counts, 1)
			p.requests, p.expected = p.requests+requests[i], p.expected+simulated[i].requests
		}
		p.simulated[subscribe], p.simulated[unsubscribe] = 0, 0 // by a connection of their own, many in one command
		t.Logf("%s, %d to %d s: %.0f commands, simulated %.0f; %d token requests, simulated %d", p.what, p.from, p.to,
			p.measured.sum(), p.simulated.sum(), p.requests, p.expected)
		for c := range commands {
			if p.measured[c] > 0 || p.simulated[c] > 0 {
				t.Logf("    %-10s %6.0f, simulated %6.0f", names[c], p.measured[c], p.simulated[c])
			}
		}
		if p.requests != p.expected {
			t.Errorf("%s: %d token requests, simulated %d", p.what, p.requests, p.expected)
		}
		t.Logf("    Redis's time for what was measured, by costs.go: %v", p.measured.cpu())
		apart := math.Abs(p.measured.sum() - p.simulated.sum())
		if apart > within*p.measured.sum()+float64(atEdge*s.Instances) {
			t.Errorf("%s: %.0f commands, simulated %.0f", p.what, p.measured.sum(), p.simulated.sum())
		}
	}
}

// simulated is the scenario, simulated: each tenant in full, the first of which is forgotten.
func (s scenario) simulated() []second {
	all := make([]second, s.end+1)
	for n := range s.Apps {
		gone := time.Duration(0)
		if n == 0 {
			gone = time.Duration(s.gone) * time.Second
		}
		for i, one := range simulate(s.Fleet, time.Duration(s.end)*time.Second, gone, uint64(n)) {
			one.counts[heed] /= float64(s.Apps) // an instance reads the log once for all
			all[i].counts.add(one.counts, 1)
			all[i].requests += one.requests
		}
	}
	return all
}

// info is the numbers of INFO.
func info(t *testing.T, w *harness.World) map[string]float64 {
	t.Helper()
	text, err := w.Redis.Admin.Info(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		numbers[name], _ = strconv.ParseFloat(value, 64)
	}
	return numbers
}
