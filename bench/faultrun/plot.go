package main

import (
	"fmt"
	"image/color"
	"maps"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/msal-redis/msal-redis-go/bench/picture"
)

// plot draws the run's timeline: the faults, each kind in a line of its own, and below on the same seconds the calls
// that succeeded and failed, and the token requests. What broke a rule is a cross.
func (r *report) plot(file string) error {
	c := newChecker(*r.history)
	end := time.Second
	for _, l := range r.history.Lives {
		end = max(end, l.End)
	}
	faults, err := r.faultLines(c.Faults, end)
	if err != nil {
		return err
	}
	rates, err := r.rateLines(end)
	if err != nil {
		return err
	}
	return picture.Write(file, 28*vg.Centimeter, 22*vg.Centimeter, []*plot.Plot{faults}, []*plot.Plot{rates})
}

func (r *report) faultLines(faults []injected, end time.Duration) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("seed %d, %s: faults", r.Seed, r.Topology)
	lines := map[string]float64{}
	for _, f := range faults {
		lines[f.Kind] = 0
	}
	var ticks []plot.Tick
	for i, kind := range slices.Backward(slices.Sorted(maps.Keys(lines))) {
		lines[kind] = float64(len(lines) - i)
		ticks = append(ticks, plot.Tick{Value: lines[kind], Label: kind})
	}
	for _, f := range faults {
		// Its effects may show until after its end: drawn lighter.
		for _, part := range []struct {
			to    time.Duration
			shade uint8
		}{{f.End + kindNamed(f.Kind).after, 90}, {max(f.End, f.Start+150*time.Millisecond), 255}} {
			l, err := plotter.NewLine(plotter.XYs{{X: f.Start.Seconds(), Y: lines[f.Kind]},
				{X: part.to.Seconds(), Y: lines[f.Kind]}})
			if err != nil {
				return nil, err
			}
			l.Width, l.Color = vg.Points(5), color.NRGBA{R: 200, G: 90, A: part.shade}
			if f.Kind == kindBusy {
				l.Color = color.NRGBA{R: 120, G: 120, B: 120, A: part.shade}
			}
			p.Add(l)
		}
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, end.Seconds(), 0, float64(len(lines)+1)
	return p, nil
}

func (r *report) rateLines(end time.Duration) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "seconds", "each second"
	n := int(end/time.Second) + 1
	count := map[string]plotter.XYs{}
	add := func(what string, at time.Duration) {
		if count[what] == nil {
			count[what] = make(plotter.XYs, n)
			for i := range n {
				count[what][i].X = float64(i) + .5
			}
		}
		if i := int(at / time.Second); i >= 0 && i < n {
			count[what][i].Y++
		}
	}
	for _, x := range r.history.Calls {
		switch {
		case x.End == 0:
		case x.Fail == "":
			add("calls that succeeded", x.End)
		default:
			add("calls that failed", x.End)
		}
	}
	for _, q := range r.history.Requests {
		add("token requests", q.Arrived)
	}
	colors := map[string]color.Color{"calls that succeeded": color.NRGBA{G: 140, A: 255},
		"calls that failed": color.NRGBA{R: 200, A: 255}, "token requests": color.NRGBA{B: 200, A: 255}}
	for _, what := range slices.Sorted(maps.Keys(count)) {
		l, err := plotter.NewLine(count[what])
		if err != nil {
			return nil, err
		}
		l.Color, l.Width = colors[what], vg.Points(1.3)
		p.Add(l)
		p.Legend.Add(what, l)
	}
	var broken plotter.XYs
	for _, v := range r.Violations {
		broken = append(broken, plotter.XY{X: v.At.Seconds()})
	}
	if len(broken) > 0 {
		s, err := plotter.NewScatter(broken)
		if err != nil {
			return nil, err
		}
		s.GlyphStyle = draw.GlyphStyle{Color: color.NRGBA{R: 255, A: 255}, Radius: vg.Points(4), Shape: draw.CrossGlyph{}}
		p.Add(s)
		p.Legend.Add("a rule was not kept", s)
	}
	p.X.Min, p.X.Max = 0, end.Seconds()
	return p, nil
}
