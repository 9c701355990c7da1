package bench

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/msal-redis/msal-redis-go/bench/picture"
)

// series is what a contender's line or cloud is made of.
type series struct {
	file, contender string
	xy              plotter.XYs
}

const (
	steadyPicture   = "steady.svg"
	requestsPicture = "processes-requests.svg"
	timePicture     = "processes-time.svg"
)

func (t *table) point(file, contender string, xy ...plotter.XY) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.pictures {
		if t.pictures[i].file == file && t.pictures[i].contender == contender {
			t.pictures[i].xy = append(t.pictures[i].xy, xy...)
			return
		}
	}
	t.pictures = append(t.pictures, series{file, contender, xy})
}

// latencies keeps the slowest call of each twentieth of a second.
func (t *table) latencies(contender string, calls []sample) {
	const slot = 50 * time.Millisecond
	slowest := map[time.Duration]time.Duration{}
	for _, c := range calls {
		slowest[c.Due/slot] = max(slowest[c.Due/slot], c.Took)
	}
	for at, took := range slowest {
		t.point(steadyPicture, contender, plotter.XY{X: (at * slot).Seconds(), Y: max(float64(took)/1e6, 1e-3)})
	}
}

// growth keeps what a size costs. What was measured with more operations replaces what was with fewer.
func (t *table) growth(file, contender string, size int, y float64) {
	for i := range t.pictures {
		if one := &t.pictures[i]; one.file == file && one.contender == contender {
			one.xy = slices.DeleteFunc(one.xy, func(p plotter.XY) bool { return p.X == float64(size) })
		}
	}
	t.point(file, contender, plotter.XY{X: float64(size), Y: y})
}

var colors = map[string]color.Color{
	memory.name:       color.RGBA{0x9a, 0xa5, 0xb1, 0xff},
	nothing.name:      color.RGBA{0x9a, 0xa5, 0xb1, 0xff},
	onlyMarshals.name: color.RGBA{0x5a, 0x9e, 0x6f, 0xff},
	naively.name:      color.RGBA{0xe0, 0x8e, 0x45, 0xff},
	library.name:      color.RGBA{0x1f, 0x6f, 0xb2, 0xff},
}

// about is what the pictures are of.
var about = map[string]struct{ title, x, y string }{
	steadyPicture: {"Calls while a token is refreshed, 300 ms at Entra ID, " + steadyLoad[len("steady load, "):] +
		": the slowest of each 50 ms", "seconds", "milliseconds"},
	requestsPicture: {"Token requests for one token", "cold processes, 4 callers each", "token requests"},
	timePicture: {"Time until the slowest caller has the token, 300 ms at Entra ID", "cold processes, 4 callers each",
		"milliseconds"},
	"growth-scopes-new.svg":    {"A new token in a tenant with many scopes", "scopes there", "milliseconds"},
	"growth-scopes-cold.svg":   {"Cold read of a tenant with many scopes", "scopes there", "milliseconds"},
	"growth-users-hit.svg":     {"A call for a known user, one client", "users on the client", "milliseconds"},
	"growth-users-first.svg":   {"First call for each user, one client", "users on the client", "milliseconds each"},
	"growth-tenants-hit.svg":   {"A call for a known tenant, one client", "tenants on the client", "milliseconds"},
	"growth-tenants-first.svg": {"First call for each tenant, one client", "tenants on the client", "milliseconds each"},
}

// write writes the table and the pictures.
func (t *table) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for file := range about {
		p, err := t.plot(file)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		err = picture.Write(filepath.Join(dir, file), 24*vg.Centimeter, 9*vg.Centimeter, []*plot.Plot{p})
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), []byte(t.markdown()), 0o644)
}

// plot is a picture; nil: nothing of it was measured.
func (t *table) plot(file string) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = about[file].title, about[file].x, about[file].y
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, figures{}
	if file != steadyPicture {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizes{}
	}
	p.Add(plotter.NewGrid())
	all := slices.DeleteFunc(slices.Clone(t.pictures), func(one series) bool { return one.file != file })
	if len(all) == 0 {
		return nil, nil
	}
	for i, one := range all {
		cloud, err := plotter.NewScatter(one.xy)
		if err != nil {
			return nil, err
		}
		cloud.GlyphStyle = draw.GlyphStyle{Color: colors[one.contender], Radius: vg.Points(1.6), Shape: draw.CircleGlyph{}}
		p.Add(cloud)
		if file != steadyPicture {
			line, err := plotter.NewLine(one.xy)
			if err != nil {
				return nil, err
			}
			// Those that are drawn first are wider, so that one that is hidden by the next shows beside it.
			width := vg.Points(1.5 + 2*float64(len(all)-1-i))
			line.Color, line.Width = colors[one.contender], width
			cloud.Radius = max(cloud.Radius, 0.7*width)
			p.Add(line)
		}
		p.Legend.Add(one.contender, cloud)
	}
	p.Y.Min, p.Y.Max = p.Y.Min/1.4, p.Y.Max*1.4 // a point at the edge is cut in half
	return p, nil
}

// figures are the ticks of what was measured. Where less than two powers of ten are shown, 2, 3 and 5 times one are
// labelled as well, or an axis might have one label, or none.
type figures struct{}

func (figures) Ticks(least, most float64) (ticks []plot.Tick) {
	for e := int(math.Floor(math.Log10(least))); math.Pow10(e) <= most; e++ {
		for digit := 1.0; digit < 10; digit++ {
			tick := plot.Tick{Value: digit * math.Pow10(e)}
			if digit == 1 || most < 100*least && (digit == 2 || digit == 3 || digit == 5) {
				tick.Label = strconv.FormatFloat(tick.Value, 'f', max(0, -e), 64)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

// sizes are the ticks of fleets, and of what there is many of.
type sizes struct{}

func (sizes) Ticks(least, most float64) (ticks []plot.Tick) {
	by := 2
	if most > 64 {
		by = 10
	}
	for n := 1; float64(n) <= most; n *= by {
		if float64(n) >= least {
			ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
		}
	}
	return ticks
}

func (t *table) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Results\n\nWritten by `make bench`; what the workloads are says [bench/README.md](../README.md). "+
		"One run; ratios are to the\nfirst line of a workload.\n\n")
	for _, line := range machine(t.server) {
		fmt.Fprintf(&s, "- %s\n", line)
	}
	for _, note := range t.notes {
		fmt.Fprintf(&s, "- %s\n", note)
	}
	s.WriteString("\n## Goals\n\n| | goal | shown | |\n|---|---|---|---|\n")
	for _, g := range goals {
		if shown, reached, ok := g.check(t); ok {
			fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", g.what, g.goal, shown,
				map[bool]string{true: "reached", false: "**missed**"}[reached])
		}
	}
	s.WriteString("\n## Figures\n\n")
	heading := true
	t.rows(func(cells ...string) {
		fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | "))
		if heading {
			s.WriteString("|" + strings.Repeat("---|", len(cells)) + "\n")
			heading = false
		}
	})
	s.WriteString("\n## Pictures\n\n")
	drawn := map[string]bool{}
	for _, p := range t.pictures {
		if !drawn[p.file] {
			drawn[p.file] = true
			fmt.Fprintf(&s, "![%s](%s)\n\n", strings.TrimSuffix(p.file, ".svg"), p.file)
		}
	}
	return strings.TrimRight(s.String(), "\n") + "\n"
}

// machine says where the figures come from.
func machine(server string) []string {
	said := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			return "none"
		}
		return strings.TrimSpace(string(out))
	}
	cpu := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "model name\t: "); ok {
				cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	memory := ""
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			memory = fmt.Sprintf(", %d GiB", kib>>20)
		}
	}
	// A test's own build information names no modules.
	msal := said("go", "list", "-m", "-f", "{{.Version}}", "github.com/AzureAD/microsoft-authentication-library-for-go")
	return []string{
		fmt.Sprintf("%d cores, %s%s, %s", runtime.NumCPU(), cpu, memory, runtime.GOOS),
		fmt.Sprintf("%s, MSAL Go %s, Redis %s on loopback, Node %s", runtime.Version(), msal, server,
			said("node", "--version")),
		"commit " + said("git", "describe", "--always", "--dirty", "--exclude=*"),
		"`" + "make bench" + "`, " + time.Now().UTC().Format("2006-01-02"),
	}
}
