// Package picture writes plots as an SVG file, each with its legend beside it, where that covers nothing.
package picture

import (
	"errors"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const gap = 10 * vg.Millimeter / 4

// Write writes rows of plots, all of the same length, whose axes are aligned. The plots' own legends are emptied.
func Write(file string, width, height vg.Length, rows ...[]*plot.Plot) error {
	canvas := vgsvg.New(width, height)
	page := draw.New(canvas)
	var beside vg.Length // the room that a legend needs
	legends := make([][]plot.Legend, len(rows))
	for i, row := range rows {
		for _, p := range row {
			l := p.Legend
			p.Legend = plot.NewLegend()
			l.Top, l.Left, l.Padding = true, true, vg.Points(1)
			if w := l.Rectangle(page).Size().X; w > 0 {
				beside = max(beside, w+3*gap)
			}
			legends[i] = append(legends[i], l)
		}
	}
	tiles := draw.Tiles{Rows: len(rows), Cols: len(rows[0]), PadTop: gap, PadBottom: gap, PadLeft: gap,
		PadRight: max(beside, 2*gap), PadX: max(beside, 2*gap), PadY: 2 * gap}
	for i, row := range plot.Align(rows, tiles, page) {
		for j, at := range row {
			rows[i][j].Draw(at)
			at.Min.X, at.Max.X = at.Max.X+gap, at.Max.X+beside
			at.Max.Y -= 3 * gap // below the title
			legends[i][j].Draw(at)
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(out)
	return errors.Join(err, out.Close())
}
