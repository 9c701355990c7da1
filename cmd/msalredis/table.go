package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// table prints rows under headings, aligned. Where that is wider than the terminal, the cells of the headings under
// stand below their row, each after its heading. Nothing is cut, so that each id can be copied and means one thing.
// What is no terminal, a file or another program, gets a row a line.
func (c *command) table(headings []string, rows [][]string, under ...string) error {
	for _, row := range rows {
		for i, cell := range row {
			row[i] = plain(cell)
		}
	}
	text := aligned(headings, rows)
	if width := c.width(); width > 0 && widest(text) > width {
		text = stacked(headings, rows, under, width)
	}
	_, err := io.WriteString(c.out, text)
	return err
}

// width is how many columns the terminal has. 0: it is none, or does not say.
func (c *command) width() int {
	f, ok := c.out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func widest(text string) (columns int) {
	for line := range strings.Lines(text) {
		columns = max(columns, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
	}
	return columns
}

func aligned(headings []string, rows [][]string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(headings, "\t"))
	for _, row := range rows {
		cells := slices.Clone(row)
		for i, cell := range cells {
			cells[i] = cmp.Or(cell, "-")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // a Builder takes all
	return text.String()
}

func stacked(headings []string, rows [][]string, under []string, width int) string {
	over := func(row []string) (left []string) {
		for i, cell := range row {
			if !slices.Contains(under, headings[i]) {
				left = append(left, cell)
			}
		}
		return left
	}
	var upper [][]string
	for _, row := range rows {
		upper = append(upper, over(row))
	}
	lines := slices.Collect(strings.Lines(aligned(over(headings), upper)))
	text := lines[0]
	for i, row := range rows {
		var parts []string
		for j, cell := range row {
			if cell != "" && slices.Contains(under, headings[j]) {
				parts = append(parts, strings.ToLower(headings[j])+" "+cell)
			}
		}
		text += lines[i+1] + filled(parts, width)
	}
	return text
}

// folded breaks a text at spaces into lines that fit a width. Where there is no room for words it stays one line.
func folded(text string, width int) (lines []string) {
	if width < 20 {
		return []string{text}
	}
	for _, word := range strings.Split(text, " ") {
		if last := len(lines) - 1; last >= 0 && utf8.RuneCountInString(lines[last]+" "+word) <= width {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// filled puts parts into indented lines, as many as fit into each. A part that is longer than a line has lines of its
// own, and goes on at a space.
func filled(parts []string, width int) string {
	const indent, deeper = "  ", "    "
	var lines []string
	line := ""
	fits := func(more string) bool { return utf8.RuneCountInString(line+more) <= width }
	for _, part := range parts {
		if line != "" && fits("  "+part) {
			line += "  " + part
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		if line = indent + part; fits("") {
			continue
		}
		words := strings.Split(part, " ")
		line = indent + words[0]
		for i, word := range words[1:] {
			if i == 0 || fits(" "+word) { // the first comes after the heading
				line += " " + word
				continue
			}
			lines = append(lines, line)
			line = deeper + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] += "\n"
	}
	return strings.Join(lines, "")
}

// document prints v as JSON.
func (c *command) document(v any) error { return c.encode(v, "  ") }

// encode prints v as JSON, in which what plain leaves out is escaped: what json leaves as it is may still move the
// cursor.
func (c *command) encode(v any, indent string) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", indent)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	escaped := make([]byte, 0, text.Len())
	for _, r := range text.String() {
		if r == '\n' || unicode.IsPrint(r) {
			escaped = utf8.AppendRune(escaped, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) { // inside a string: JSON has none outside
			escaped = fmt.Appendf(escaped, `\u%04x`, unit)
		}
	}
	_, err := c.out.Write(escaped)
	return err
}

// plain keeps what comes from elsewhere, from Redis above all, from moving the cursor of a terminal, turning its text
// round, or moving the columns of a table.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// say prints one line. But for tables and JSON, which do the same, and a status of doctor, which is a word of ours, all
// goes through it, so that nothing is forgotten.
func say(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintln(w, plain(fmt.Sprintf(format, args...)))
	return err
}

// within says how far from now a moment is.
func within(t, now time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return ""
	case d < 0:
		return rounded(-d) + " ago"
	default:
		return "in " + rounded(d)
	}
}

func rounded(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d.Hours()/24)) + " d"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	case d >= 2*time.Minute:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d >= time.Second:
		return strconv.Itoa(int(d.Seconds())) + " s"
	}
	return strconv.Itoa(int(d.Milliseconds())) + " ms"
}

func size(bytes int) string {
	switch {
	case bytes >= 10<<20:
		return strconv.Itoa(bytes>>20) + " MiB"
	case bytes >= 10<<10:
		return strconv.Itoa(bytes>>10) + " KiB"
	}
	return strconv.Itoa(bytes) + " B"
}

// several is n of something.
func several(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
