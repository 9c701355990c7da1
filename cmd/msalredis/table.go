package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// table prints rows under headings, aligned.
func (c *command) table(headings []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(headings, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = plain(cell)
			if cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
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

// say prints one line. But for tables and JSON, which do the same, all goes through it, so that nothing is forgotten.
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
