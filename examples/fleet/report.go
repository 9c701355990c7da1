package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// outcome is what one phase did with one system.
type outcome struct {
	Phase      string  `json:"phase"`
	System     string  `json:"system"`
	Tokens     int     `json:"tokens"`         // distinct ones that were asked for
	Requests   int     `json:"token_requests"` // that reached Entra ID
	Calls      int     `json:"calls"`          // of AcquireToken
	Errors     int     `json:"errors"`         // those that gave no token
	FirstError string  `json:"first_error,omitempty"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Machine    float64 `json:"control_p99_ms,omitempty"` // see control

	cfg       *config
	total     result
	processes int
	sent      []request
}

// settle fills in what is reported.
func (o *outcome) settle(sent []request) {
	o.sent, o.Requests = sent, len(sent)
	o.Tokens = len(o.cfg.tokens())
	if o.Phase == "kill" {
		o.Tokens = 1
	}
	o.Errors, o.FirstError = o.total.Errors, o.total.FirstError
	o.Calls = len(o.total.Latencies) + o.Errors
	latencies := sorted(o.total.Latencies)
	o.P50, o.P99, o.Max = milliseconds(latencies, 0.5), milliseconds(latencies, 0.99), milliseconds(latencies, 1)
	o.Machine = milliseconds(sorted(o.total.Control), 0.99)
	o.total.Latencies = nil
}

// verdict is a promise and what became of it.
type verdict struct {
	Phase   string `json:"phase"`
	Promise string `json:"promise"`
	Kept    bool   `json:"kept"`
	Unclear bool   `json:"unclear,omitempty"` // neither kept nor broken: the machine was too slow to tell
	Found   string `json:"found"`
}

func (v verdict) String() string { return fmt.Sprintf("%s: %s (%s)", v.Phase, v.Promise, v.Found) }

type report struct {
	Config   *config    `json:"config"`
	Redis    string     `json:"redis"`
	EntraID  string     `json:"entra_id"`
	CPUs     int        `json:"cpus"`
	Results  []*outcome `json:"results"`
	LeftOut  []string   `json:"phases_left_out,omitempty"`
	Promises []verdict  `json:"promises"`
	Kept     bool       `json:"kept"` // no promise was broken
}

func newReport(cfg *config, redis string) *report {
	r := &report{Config: cfg, Redis: redis, EntraID: "emulator", CPUs: runtime.NumCPU(), Kept: true, Promises: []verdict{}}
	if cfg.real() {
		r.EntraID = "real"
	}
	return r
}

// add takes in an outcome. Only the library's is held against promises; the others made none.
func (r *report) add(ph *phase, o *outcome) {
	r.Results = append(r.Results, o)
	if o.System != thisLibrary {
		return
	}
	for _, p := range ph.promises {
		kept, found := p.kept(o)
		unclear := !kept && p.unclear != nil && p.unclear(o)
		r.Promises = append(r.Promises, verdict{ph.name, p.text, kept, unclear, found})
		r.Kept = r.Kept && (kept || unclear)
	}
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeTable(w io.Writer) error {
	var b strings.Builder
	c := r.Config
	fmt.Fprintf(&b, "\n%d workers x %d goroutines, %d tenants x %d scopes = %d tokens, on %d CPUs\n",
		c.Workers, c.Goroutines, c.Tenants, c.Scopes, len(c.tokens()), r.CPUs)
	if c.real() {
		fmt.Fprintf(&b, "Entra ID: the real one; requests as counted by the workers. Redis: %s\n", r.Redis)
	} else {
		fmt.Fprintf(&b, "Entra ID: emulator, answers after %v. Redis: %s\n", c.Latency, r.Redis)
	}
	// The first two columns are text, the others numbers.
	row := func(cells ...string) { fmt.Fprintf(&b, "%-20s %-15s %14s %10s %10s %10s %8s %8s\n", toAny(cells)...) }
	b.WriteString("\n")
	row("", "", "token requests", "p50", "p99", "max", "calls", "errors")
	last := ""
	for _, o := range r.Results {
		title := ""
		if o.Phase != last {
			if last != "" {
				b.WriteString("\n")
			}
			title, last = phaseNamed(o.Phase).title, o.Phase
		}
		row(title, systemTitle(o.System), strconv.Itoa(o.Requests), showMS(o, o.P50), showMS(o, o.P99), showMS(o, o.Max),
			strconv.Itoa(o.Calls), strconv.Itoa(o.Errors))
	}
	b.WriteString(r.legend())
	if !c.Full && len(c.Phases) < len(allPhases) {
		b.WriteString("\n--full plays all phases, with tokens that live longer.\n")
	}
	for _, name := range r.LeftOut {
		fmt.Fprintf(&b, "\n%s: left out; it needs the emulator's control over Entra ID.\n", phaseNamed(name).title)
	}
	if len(r.Promises) > 0 {
		b.WriteString("\nThe library's promises:\n")
	}
	for _, v := range r.Promises {
		mark := "kept"
		switch {
		case v.Unclear:
			mark = "unclear"
		case !v.Kept:
			mark = "BROKEN"
		}
		fmt.Fprintf(&b, "  %-7s %-20s %s (%s)\n", mark, phaseNamed(v.Phase).title, v.Promise, v.Found)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// legend says what was done, and what the numbers count.
func (r *report) legend() string {
	var b strings.Builder
	entry := func(name, text string) {
		for line := range strings.Lines(text) {
			fmt.Fprintf(&b, "  %-20s %s\n", name, strings.TrimSuffix(line, "\n"))
			name = ""
		}
	}
	b.WriteString("\nWhat happens, and what is counted:\n")
	phases, _ := r.played()
	for _, ph := range phases {
		entry(ph.title, ph.what)
		entry("", ph.note)
	}
	entry("token requests", "those that reached Entra ID")
	entry("p50, p99, max", "how long MSAL's AcquireTokenByCredential takes, of all calls that give a token. Most find "+
		"one in\nmemory (the naive accessor: in Redis): p50 is theirs, and may be microseconds. p99 and max are those of\n"+
		"calls that wait for a token request.")
	entry("calls, errors", "of all goroutines of all workers; a call that fails counts as both")
	return b.String()
}

// showMS shows a time with as many digits as mean something.
func showMS(o *outcome, ms float64) string {
	switch {
	case o.Calls == o.Errors:
		return "-"
	case ms < 1:
		return fmt.Sprintf("%.0f us", ms*1000)
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

func systemTitle(name string) string {
	return allSystems[slices.IndexFunc(allSystems, func(s system) bool { return s.name == name })].title
}

func toAny(cells []string) []any {
	out := make([]any, len(cells))
	for i, c := range cells {
		out[i] = c
	}
	return out
}
