package bench

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

var resultsDir = flag.String("results", "", "write the table and the pictures to this `directory`")

func TestMain(m *testing.M) {
	if subprocess.Role() == contenderRole {
		os.Exit(work())
	}
	code := m.Run()
	results.print(os.Stdout)
	if *resultsDir != "" && code == 0 {
		if err := results.write(*resultsDir); err != nil {
			fmt.Fprintln(os.Stderr, "results:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// figure is what a contender has shown in a workload.
type figure struct {
	contender string
	time      []float64          // nanoseconds, one for each -count
	n         int                // how many operations the last of them is of
	more      map[string]float64 // by unit
}

// table are the figures of a run, by workload, in the order in which they were measured.
type table struct {
	mu        sync.Mutex
	server    string
	workloads []string
	figures   map[string][]*figure
	notes     []string
	pictures  []series
}

var results = table{figures: map[string][]*figure{}}

func (t *table) redis(rdb *redis.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.server == "" {
		for line := range strings.Lines(rdb.Info(context.Background(), "server").Val()) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
				t.server = v
			}
		}
	}
}

// note keeps a line to be read with the table, once.
func (t *table) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

// add takes in a contender's figures: nanoseconds an operation, of n, and pairs of a unit and a number. A benchmark
// is run with more and more operations until they take long enough: the last time counts.
func (t *table) add(workload, contender string, n int, ns float64, more ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.workloads, workload) {
		t.workloads = append(t.workloads, workload)
	}
	f := t.figure(workload, contender)
	if f == nil {
		f = &figure{contender: contender, more: map[string]float64{}}
		t.figures[workload] = append(t.figures[workload], f)
	}
	if len(f.time) > 0 && n > f.n {
		f.time = f.time[:len(f.time)-1]
	}
	f.time, f.n = append(f.time, ns), n
	for j := 0; j+1 < len(more); j += 2 {
		f.more[more[j].(string)] = more[j+1].(float64)
	}
}

func (t *table) figure(workload, contender string) *figure {
	for _, f := range t.figures[workload] {
		if f.contender == contender {
			return f
		}
	}
	return nil
}

// print prints the table: each contender beside the first of its workload.
func (t *table) print(to io.Writer) {
	if len(t.workloads) == 0 {
		return
	}
	fmt.Fprintf(to, "\n%d cores, %s, Redis %s on loopback\n\n", runtime.GOMAXPROCS(0), runtime.Version(), t.server)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	t.rows(func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) })
	w.Flush()
	for _, note := range t.notes {
		fmt.Fprintln(to, note)
	}
	fmt.Fprintln(to)
	for _, g := range goals {
		if shown, reached, ok := g.check(t); ok {
			fmt.Fprintf(to, "%s  %s: %s; goal %s\n", map[bool]string{true: "reached", false: "MISSED "}[reached],
				g.what, shown, g.goal)
		}
	}
}

// rows calls row for the heading and each line of the table.
func (t *table) rows(row func(cells ...string)) {
	row("workload", "contender", "time", "ratio", "")
	for _, name := range t.workloads {
		first := median(t.figures[name][0].time)
		label := name
		for _, f := range t.figures[name] {
			ns := median(f.time)
			units := make([]string, 0, len(f.more))
			for unit := range f.more {
				units = append(units, unit)
			}
			slices.Sort(units)
			for i, unit := range units {
				units[i] = fmt.Sprintf("%s %s", number(f.more[unit]), unit)
			}
			row(label, f.contender, duration(ns), ratio(ns, first), strings.Join(units, ", "))
			label = ""
		}
	}
}

func number(v float64) string {
	if v >= 100 || v == float64(int64(v)) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func median(all []float64) float64 {
	sorted := slices.SortedFunc(slices.Values(all), cmp.Compare[float64])
	return sorted[len(sorted)/2]
}

func duration(ns float64) string {
	switch {
	case ns == 0:
		return ""
	case ns < 10e3:
		return fmt.Sprintf("%.2f us", ns/1e3)
	case ns < 1e6:
		return fmt.Sprintf("%.0f us", ns/1e3)
	default:
		return fmt.Sprintf("%.1f ms", ns/1e6)
	}
}

func ratio(ns, first float64) string {
	if first == 0 || ns == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", ns/first)
}

// done takes in what a benchmark has measured by itself.
func done(b *testing.B, workload, contender string, more ...any) {
	results.add(workload, contender, b.N, float64(b.Elapsed())/float64(b.N), more...)
}
