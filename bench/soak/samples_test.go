package soak

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/msal-redis/msal-redis-go/bench/picture"
)

// sample is what the process took at a moment.
type sample struct {
	At         time.Duration // since the load began
	Heap       float64       // bytes that the last garbage collection found in use
	Resident   float64       // bytes of memory that the process occupies (VmRSS)
	Goroutines float64
	Sockets    float64
	Files      float64 // file descriptors, sockets among them
	Calls      int64   // until then
	Assertions int64
}

func (s sample) String() string {
	return fmt.Sprintf("%v: heap %.1f MiB, resident %.1f MiB, %.0f goroutines, %.0f sockets, %.0f file descriptors, %d "+
		"calls, %d assertions",
		s.At.Round(time.Second), s.Heap/(1<<20), s.Resident/(1<<20), s.Goroutines, s.Sockets, s.Files, s.Calls, s.Assertions)
}

// take reads what this process takes now (proc(5)).
func take() (s sample, err error) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	s.Heap, s.Goroutines = float64(live[0].Value.Uint64()), float64(runtime.NumGoroutine())
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 64)
			if err != nil {
				return s, err
			}
			s.Resident = kib * 1024
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return s, err
	}
	for _, f := range files {
		s.Files++
		if to, _ := os.Readlink("/proc/self/fd/" + f.Name()); strings.HasPrefix(to, "socket:") {
			s.Sockets++
		}
	}
	return s, nil
}

// resource is one of the things that must not grow.
type resource struct {
	name   string
	unit   float64
	slack  float64 // what a tenth is too little for
	of     func(sample) float64
	color  color.RGBA
	dashes []vg.Length // of a line that may lie on another
}

const resident = "resident, MiB"

var resources = []resource{
	{"heap, MiB", 1 << 20, 1, func(s sample) float64 { return s.Heap }, color.RGBA{0x1f, 0x6f, 0xb2, 0xff}, nil},
	{resident, 1 << 20, 4, func(s sample) float64 { return s.Resident }, color.RGBA{0xe0, 0x8e, 0x45, 0xff}, nil},
	{"goroutines", 1, 16, func(s sample) float64 { return s.Goroutines }, color.RGBA{0x9a, 0xa5, 0xb1, 0xff}, nil},
	{"sockets", 1, 4, func(s sample) float64 { return s.Sockets }, color.RGBA{0x4c, 0x9a, 0x5b, 0xff}, nil},
	{"file descriptors", 1, 4, func(s sample) float64 { return s.Files }, color.RGBA{0x7a, 0x5a, 0xa6, 0xff},
		[]vg.Length{vg.Points(6), vg.Points(4)}},
}

// flat tells whether the median of the last third is at most a tenth, and the slack, above that of the middle third.
// The first third is what it takes to fill what is bounded; a median, because tokens that become due together make
// bursts.
func (r resource) flat(samples []sample) error {
	third := len(samples) / 3
	if third < 10 {
		return errors.New("too few samples to judge by")
	}
	median := func(part []sample) float64 {
		var values []float64
		for _, s := range part {
			values = append(values, r.of(s)/r.unit)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	middle, last := median(samples[third:2*third]), median(samples[2*third:])
	if last > middle*1.1+r.slack {
		return fmt.Errorf("%s: %.1f in the last third of the load, %.1f in the middle one", r.name, last, middle)
	}
	return nil
}

// What grows is seen, what goes up and down is not taken for it.
func TestFlatSeesGrowth(t *testing.T) {
	for name, test := range map[string]struct {
		at   func(i int) float64
		flat bool
	}{
		"a leak":           {func(i int) float64 { return 50 + float64(i)/2 }, false},
		"nothing":          {func(int) float64 { return 50 }, true},
		"a saw":            {func(i int) float64 { return 50 + float64(i%20) }, true},
		"a saw that rises": {func(i int) float64 { return 50 + float64(i%20) + float64(i)/3 }, false},
		"a full cache":     {func(i int) float64 { return min(50, float64(i)) }, true},
	} {
		var samples []sample
		for i := range 150 {
			samples = append(samples, sample{Heap: test.at(i) * (1 << 20)})
		}
		if err := resources[0].flat(samples); (err == nil) != test.flat {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// write writes the samples and their picture.
func write(dir string, samples []sample) error {
	var csv strings.Builder
	csv.WriteString("seconds,heap_bytes,resident_bytes,goroutines,sockets,file_descriptors,calls,assertions\n")
	for _, s := range samples {
		fmt.Fprintf(&csv, "%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%d,%d\n", s.At.Seconds(), s.Heap, s.Resident, s.Goroutines,
			s.Sockets, s.Files, s.Calls, s.Assertions)
	}
	if err := os.WriteFile(filepath.Join(dir, "soak.csv"), []byte(csv.String()), 0o644); err != nil {
		return err
	}
	memory, numbers := plot.New(), plot.New()
	last := samples[len(samples)-1]
	memory.Title.Text = fmt.Sprintf("%d users, %d calls, %d on-behalf-of assertions", *users, last.Calls, last.Assertions)
	memory.Y.Label.Text, numbers.Y.Label.Text = "MiB", "number"
	for _, p := range []*plot.Plot{memory, numbers} {
		p.X.Label.Text, p.X.Min, p.Y.Min = "seconds of load", 0, 0
		p.Add(plotter.NewGrid())
	}
	for _, r := range resources {
		var xy plotter.XYs
		for _, s := range samples {
			xy = append(xy, plotter.XY{X: s.At.Seconds(), Y: r.of(s) / r.unit})
		}
		line, err := plotter.NewLine(xy)
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = r.color, vg.Points(1.5), r.dashes
		p := numbers
		if r.unit > 1 {
			p = memory
		}
		p.Add(line)
		p.Legend.Add(r.name, line)
	}
	return picture.Write(filepath.Join(dir, "soak.svg"), 22*vg.Centimeter, 16*vg.Centimeter, []*plot.Plot{memory},
		[]*plot.Plot{numbers})
}
