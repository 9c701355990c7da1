package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// report is what a run says, and the JSON of --json. Durations are nanoseconds there.
type report struct {
	Seed     uint64
	Topology string
	Duration time.Duration
	Rotate   bool
	Clocks   bool
	Machine  string
	Workers  int // processes, those that took a killed one's place included
	Users    int
	Tenants  int
	Calls    int
	Requests int
	verdict
	config  *config
	history *history
}

// logged is the JSON of --log.
type logged struct {
	Seed     uint64
	Topology string
	Duration time.Duration
	History  history
}

func newReport(c *config, h *history, v verdict) *report {
	r := &report{Seed: c.Seed, Topology: c.Topology, Duration: c.Duration, Rotate: h.Terms.Rotate, Clocks: h.Clocks,
		Workers: len(h.Lives), Calls: len(h.Calls), Requests: len(h.Requests), verdict: v, config: c, history: h,
		Machine: fmt.Sprintf("%d processors, %s/%s, %s, Redis %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
			runtime.Version(), h.Redis)}
	users, tenants := map[string]bool{}, map[string]bool{}
	for _, x := range h.Calls {
		tenants[x.Tenant] = true
		if x.User != "" {
			users[x.User] = true
		}
	}
	r.Users, r.Tenants = len(users), len(tenants)
	return r
}

func (r *report) write(out io.Writer) error {
	if r.config.Log != "" {
		text, err := json.Marshal(logged{r.Seed, r.Topology, r.Duration, *r.history})
		if err == nil {
			err = os.WriteFile(r.config.Log, text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
	}
	if r.config.Plot != "" {
		if err := r.plot(r.config.Plot); err != nil {
			return fmt.Errorf("--plot: %w", err)
		}
	}
	if r.config.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.table(out)
}

func (r *report) table(out io.Writer) error {
	fmt.Fprintf(out, "seed %d, %s, %v, rotation %t, clocks apart %t; %s\n%d processes, %d users, %d tenants, %d calls, "+
		"%d token requests\n\n",
		r.Seed, r.Topology, r.Duration, r.Rotate, r.Clocks, r.Machine, r.Workers, r.Users, r.Tenants, r.Calls, r.Requests)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "fault\ttimes\tcalls\tfailed\ttokens lost\textra requests\tbound each\tlongest call\t")
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t\n", x.Kind, x.Injected, x.Calls, x.Failed, x.Lost, x.Extra, x.Bound,
			x.Longest.Round(time.Millisecond))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	lost := map[string]int{}
	for _, l := range r.Losses {
		lost[l.Fault+": "+l.Why]++
	}
	for _, why := range slices.Sorted(maps.Keys(lost)) {
		fmt.Fprintf(out, "\nlost, as the bound allows: %d by %s\n", lost[why], why)
	}
	if len(r.Violations) == 0 {
		_, err := fmt.Fprintln(out, "\nEvery rule was kept.")
		return err
	}
	count := map[string]int{}
	for _, v := range r.Violations {
		count[v.Rule]++
	}
	fmt.Fprintf(out, "\n%d times a rule was not kept: %v\n", len(r.Violations), count)
	shown := map[string]int{}
	for _, v := range r.Violations {
		if shown[v.Rule]++; shown[v.Rule] <= 12 {
			fmt.Fprintf(out, "%7.2f s  %s, after %q: %s\n", v.At.Seconds(), v.Rule, cmp.Or(v.Fault, noFault), v.Text)
		}
	}
	_, err := fmt.Fprintf(out, "\nThe same faults again: go run ./bench/faultrun --seed %d --topology %s --duration "+
		"%v --rotate=%t --clocks=%t\n",
		r.Seed, r.Topology, r.Duration, r.Rotate, r.Clocks)
	return err
}
