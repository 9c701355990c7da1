package main

import (
	"fmt"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/msal-redis/msal-redis-go/bench/picture"
)

// draw draws the fleets: Redis's time, with what some sizes of Azure Managed Redis have of it, and connections.
func (t table) draw(file string) error {
	busy, err := t.busy()
	if err != nil {
		return err
	}
	connections, err := t.connections()
	if err != nil {
		return err
	}
	return picture.Write(file, 34*vg.Centimeter, 13*vg.Centimeter, []*plot.Plot{busy, connections})
}

var shades = []color.Color{
	color.NRGBA{R: 40, G: 120, B: 200, A: 255}, color.NRGBA{R: 220, G: 130, A: 255},
	color.NRGBA{R: 170, G: 30, B: 60, A: 255},
}

// lines adds a line for each number of partitions.
func (t table) lines(p *plot.Plot, what string, dashed bool, y func(Reckoning) float64) error {
	byApps := map[int]plotter.XYs{}
	var order []int
	for _, r := range t {
		if byApps[r.Apps] == nil {
			order = append(order, r.Apps)
		}
		byApps[r.Apps] = append(byApps[r.Apps], plotter.XY{X: float64(r.Instances), Y: y(r)})
	}
	for i, apps := range order {
		l, points, err := plotter.NewLinePoints(byApps[apps])
		if err != nil {
			return err
		}
		l.Color, l.Width = shades[i%len(shades)], vg.Points(1.6)
		points.Color, points.Shape, points.Radius = l.Color, draw.CircleGlyph{}, vg.Points(2)
		if dashed {
			l.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		p.Add(l, points)
		p.Legend.Add(fmt.Sprintf("%s tenants%s", number(float64(apps)), what), l)
	}
	return nil
}

func (t table) axes(title, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "instances of the service", y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plain{}, plain{}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{230}, color.Gray{230}
	p.Add(grid)
	p.X.Min, p.X.Max = float64(t[0].Instances), float64(t[len(t)-1].Instances)
	return p
}

func (t table) busy() (*plot.Plot, error) {
	p := t.axes("Redis's work, in threads that are busy all the time", "busy threads")
	if err := t.lines(p, ", mean", false, func(r Reckoning) float64 { return r.Mean.cpu().Seconds() }); err != nil {
		return nil, err
	}
	if err := t.lines(p, ", due at once", true, func(r Reckoning) float64 { return r.Due.load() }); err != nil {
		return nil, err
	}
	most := p.X.Max
	p.X.Max *= 30 // room for the names of sizes
	for _, s := range sizes {
		if s.gets == 480_000 || s.gets == 1_500_000 {
			continue // too near to the next
		}
		at := busyAtMost * float64(s.shards)
		l, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: at}, {X: p.X.Max, Y: at}})
		if err != nil {
			return nil, err
		}
		l.Color, l.Dashes = color.Gray{110}, []vg.Length{vg.Points(1), vg.Points(3)}
		y := at * 1.1
		if s == sizes[0] {
			y = at / 2.5 // below: the next is near
		}
		label, err := plotter.NewLabels(plotter.XYLabels{
			XYs: plotter.XYs{{X: 1.3 * most, Y: y}}, Labels: []string{s.name},
		})
		if err != nil {
			return nil, err
		}
		label.TextStyle[0].Color = color.Gray{90}
		label.TextStyle[0].Font.Size = vg.Points(8)
		p.Add(l, label)
	}
	p.Y.Min, p.Y.Max = 1e-5, 1e4
	p.X.Tick.Marker = plain{most}
	return p, nil
}

func (t table) connections() (*plot.Plot, error) {
	p := t.axes("Connections, whatever the tenants", "connections")
	one := t[:0:0]
	for _, r := range t {
		if r.Apps == t[0].Apps {
			one = append(one, r)
		}
	}
	for i, what := range []string{"at rest", fmt.Sprintf("after a burst, PoolSize %d", t[0].PoolSize)} {
		var xys plotter.XYs
		for _, r := range one {
			xys = append(xys, plotter.XY{X: float64(r.Instances), Y: float64(r.Connections[i])})
		}
		l, points, err := plotter.NewLinePoints(xys)
		if err != nil {
			return nil, err
		}
		l.Color, l.Width = shades[i], vg.Points(1.6)
		points.Color, points.Shape, points.Radius = l.Color, draw.CircleGlyph{}, vg.Points(2)
		p.Add(l, points)
		p.Legend.Add(what, l)
	}
	p.Y.Min, p.Y.Max = 10, 1e6
	return p, nil
}

// plain is ticks of powers of ten as plain numbers.
type plain struct{ most float64 } // no higher one; 0: there may be

func (p plain) Ticks(low, high float64) (ticks []plot.Tick) {
	for e := -9; math.Pow10(e) <= high*1.001; e++ {
		v := math.Pow10(e)
		if v < low*0.999 || p.most > 0 && v > p.most*1.001 {
			continue
		}
		label := strconv.FormatFloat(v, 'f', -1, 64)
		if v >= 1000 {
			label = number(v)
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label})
	}
	return ticks
}
