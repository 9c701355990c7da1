package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) {
	code := m.Run()
	results.print()
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

// add takes in a contender's figures: nanoseconds an operation, of n, and pairs of a unit and a number. A benchmark
// is run with more and more operations until they take long enough: the last time counts.
func (t *table) add(workload, contender string, n int, ns float64, more ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.workloads, workload) {
		t.workloads = append(t.workloads, workload)
	}
	i := slices.IndexFunc(t.figures[workload], func(f *figure) bool { return f.contender == contender })
	if i < 0 {
		t.figures[workload] = append(t.figures[workload], &figure{contender: contender, more: map[string]float64{}})
		i = len(t.figures[workload]) - 1
	}
	f := t.figures[workload][i]
	if len(f.time) > 0 && n > f.n {
		f.time = f.time[:len(f.time)-1]
	}
	f.time, f.n = append(f.time, ns), n
	for j := 0; j+1 < len(more); j += 2 {
		f.more[more[j].(string)] = more[j+1].(float64)
	}
}

// print prints the table: each contender beside the first of its workload.
func (t *table) print() {
	if len(t.workloads) == 0 {
		return
	}
	fmt.Printf("\n%d cores, %s, Redis %s on loopback\n\n", runtime.GOMAXPROCS(0), runtime.Version(), t.server)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "workload\tcontender\ttime\tratio\t")
	for _, name := range t.workloads {
		first := median(t.figures[name][0].time)
		for i, f := range t.figures[name] {
			label := name
			if i > 0 {
				label = ""
			}
			ns := median(f.time)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t", label, f.contender, duration(ns), ratio(ns, first))
			units := make([]string, 0, len(f.more))
			for unit := range f.more {
				units = append(units, unit)
			}
			slices.Sort(units)
			for _, unit := range units {
				fmt.Fprintf(w, "%.6g %s  ", f.more[unit], unit)
			}
			fmt.Fprintln(w)
		}
	}
	w.Flush()
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
	if first == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", ns/first)
}

// done takes in what a benchmark has measured by itself.
func done(b *testing.B, workload, contender string, more ...any) {
	results.add(workload, contender, b.N, float64(b.Elapsed())/float64(b.N), more...)
}
