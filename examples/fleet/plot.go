package main

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/msal-redis/msal-redis-go/bench/picture"
)

var systemColors = map[string]color.Color{
	plainMSAL:   color.RGBA{0x9a, 0xa5, 0xb1, 0xff},
	naiveRedis:  color.RGBA{0xe0, 0x8e, 0x45, 0xff},
	thisLibrary: color.RGBA{0x1f, 0x6f, 0xb2, 0xff},
}

// plot draws the picture: token requests, and the latency of the slowest hundredth.
func (r *report) plot(file string) error {
	requests, err := r.panel("token requests", 0.1, func(o *outcome) (float64, string) {
		return float64(o.Requests), fmt.Sprint(o.Requests)
	})
	if err != nil {
		return err
	}
	requests.Title.Text = fmt.Sprintf("%d workers x %d goroutines, %d tokens", r.Config.Workers, r.Config.Goroutines,
		len(r.Config.tokens()))
	latency, err := r.panel("AcquireToken, p99 (ms)", 0.001, func(o *outcome) (float64, string) {
		return o.P99, showMS(o, o.P99)
	})
	if err != nil {
		return err
	}
	latency.Legend = plot.NewLegend() // the same
	return picture.Write(file, 28*vg.Centimeter, 18*vg.Centimeter, []*plot.Plot{requests}, []*plot.Plot{latency})
}

// panel draws grouped bars on a logarithmic scale that starts at floor. Bars of gonum/plot start at 0, which has no
// logarithm: so the axis is linear, the values are logarithms, and the ticks say what they stand for.
func (r *report) panel(label string, floor float64, value func(*outcome) (float64, string)) (*plot.Plot, error) {
	height := func(v float64) float64 { return math.Log10(max(v, floor) / floor) }
	p := plot.New()
	p.Y.Label.Text = label
	p.Y.Min = 0
	p.X.Tick.Label.Font.Size = vg.Points(11)
	p.Legend.TextStyle.Font.Size = vg.Points(10)

	phases, systems := r.played()
	width := 60 * vg.Centimeter / vg.Length(4*max(1, len(phases)*len(systems)))
	for i, sys := range systems {
		bars, tops := make(plotter.Values, len(phases)),
			plotter.XYLabels{XYs: make(plotter.XYs, len(phases)), Labels: make([]string, len(phases))}
		for j, ph := range phases {
			o := r.outcome(ph.name, sys.name)
			v, shown := value(o)
			bars[j] = height(v)
			tops.XYs[j], tops.Labels[j] = plotter.XY{X: float64(j), Y: bars[j]}, shown
		}
		chart, err := plotter.NewBarChart(bars, width)
		if err != nil {
			return nil, err
		}
		offset := width * vg.Length(float64(i)-float64(len(systems)-1)/2)
		chart.Color, chart.LineStyle.Width, chart.Offset = systemColors[sys.name], 0, offset
		labels, err := plotter.NewLabels(tops)
		if err != nil {
			return nil, err
		}
		labels.Offset = vg.Point{X: offset, Y: vg.Points(2)}
		for j := range labels.TextStyle {
			labels.TextStyle[j].XAlign = text.XCenter
			labels.TextStyle[j].Font.Size = vg.Points(9)
		}
		p.Add(chart, labels)
		p.Legend.Add(sys.title, chart)
	}
	names := make([]string, len(phases))
	for i, ph := range phases {
		names[i] = ph.title
	}
	p.NominalX(names...)
	p.Y.Max = math.Ceil(p.Y.Max + 0.3)
	var ticks plot.ConstantTicks
	for d := 0.0; d <= p.Y.Max; d++ {
		ticks = append(ticks, plot.Tick{Value: d, Label: fmt.Sprintf("%.10g", floor*math.Pow(10, d))})
	}
	p.Y.Tick.Marker = ticks
	return p, nil
}

// played are the phases and systems that have outcomes.
func (r *report) played() (phases []*phase, systems []system) {
	for _, ph := range r.Config.phases() {
		for _, o := range r.Results {
			if o.Phase == ph.name {
				phases = append(phases, ph)
				break
			}
		}
	}
	return phases, r.Config.systems()
}

func (r *report) outcome(phase, system string) *outcome {
	for _, o := range r.Results {
		if o.Phase == phase && o.System == system {
			return o
		}
	}
	return &outcome{}
}
