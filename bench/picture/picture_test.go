package picture

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// A legend stands to the right of all that is drawn in its plot's axes, and in the picture.
func TestLegendCoversNothing(t *testing.T) {
	const width = 20 * vg.Centimeter
	for name, rows := range map[string]int{"one plot": 1, "two rows": 2} {
		t.Run(name, func(t *testing.T) {
			var plots [][]*plot.Plot
			for range rows {
				p := plot.New()
				line, err := plotter.NewLine(plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}})
				if err != nil {
					t.Fatal(err)
				}
				p.Add(line)
				p.Title.Text, p.X.Label.Text = "the title", "seconds"
				p.Legend.Add("a rather long name", line)
				plots = append(plots, []*plot.Plot{p})
			}
			file := filepath.Join(t.TempDir(), "picture.svg")
			if err := Write(file, width, 9*vg.Centimeter, plots...); err != nil {
				t.Fatal(err)
			}
			ends := 0.0
			var legends []float64
			for text, x := range texts(t, file) {
				if strings.HasPrefix(text, "a rather") {
					legends = append(legends, x...)
					continue
				}
				for _, x := range x {
					ends = max(ends, x)
				}
			}
			if len(legends) != rows {
				t.Fatalf("%d legends, want %d", len(legends), rows)
			}
			for _, x := range legends {
				if x <= ends || x > width.Points()*0.95 {
					t.Errorf("a legend at %.0f; ticks and titles go to %.0f, the picture to %.0f", x, ends, width.Points())
				}
			}
		})
	}
}

// texts is where each text of an SVG file begins, in its own coordinates.
func texts(t *testing.T, file string) map[string][]float64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]float64{}
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "text" {
			continue
		}
		var text string
		x := -1.0
		for _, a := range start.Attr {
			if a.Name.Local == "x" {
				if _, err := fmt.Sscan(a.Value, &x); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := d.DecodeElement(&text, &start); err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSpace(text)] = append(all[strings.TrimSpace(text)], x)
	}
}
