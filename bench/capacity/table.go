package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// table is fleets, by partitions and then by instances.
type table []Reckoning

const forgotten = "The tokens of one tenant are forgotten (`ForgetAppTokens`)"

// print prints the tables of docs/capacity.md.
func (t table) print(to io.Writer) {
	fmt.Fprint(to, "| tenants | instances | commands/s, mean | Redis's time, mean | connections | memory | "+
		"token requests an hour |\n|---|---|---|---|---|---|---|\n")
	for _, r := range t {
		fmt.Fprintf(to, "| %s | %s | %s | %s | %s to %s | %s | %s |\n", number(float64(r.Apps)),
			number(float64(r.Instances)), number(r.Mean.sum()), share(r.Mean.cpu().Seconds()),
			number(float64(r.Connections[0])), number(float64(r.Connections[1])), megabytes(r.Bytes), number(r.Hourly))
	}
	for _, b := range []struct {
		what string
		of   func(Reckoning) burst
	}{
		{
			"All instances start within " + t[0].Within.String() + ", on an empty Redis",
			func(r Reckoning) burst { return r.Start },
		},
		{"All tokens become due at once", func(r Reckoning) burst { return r.Due }},
		{forgotten, func(r Reckoning) burst { return r.Gone }},
	} {
		fmt.Fprintf(to, "\n%s:\n\n| tenants | instances | token requests | commands | most commands in a second | "+
			"Redis's time in that second | Redis's time in all | waiting at once | messages delivered | Balanced size |\n"+
			"|---|---|---|---|---|---|---|---|---|---|\n", b.what)
		for _, r := range t {
			x := b.of(r)
			if b.what == forgotten && r.Apps != t[0].Apps {
				continue // however many others there are
			}
			fmt.Fprintf(to, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", number(float64(r.Apps)),
				number(float64(r.Instances)), number(float64(x.requests)), number(x.counts.sum()), number(x.busiest.sum()),
				share(x.load()), duration(x.cpu()), number(float64(x.waiting)), number(float64(x.delivered)), fits(x.load()))
		}
	}
}

// printUsers prints the table of users, whose calls come to one instance each: what they cost does not depend on how
// many instances there are.
func printUsers(to io.Writer, f Fleet) {
	ttls := []time.Duration{f.LocalTTL, 6 * f.LocalTTL}
	fmt.Fprintf(to, "\n| users in use | commands/s at LocalTTL %v | Redis's time | commands/s at %v | Redis's time | "+
		"memory of their records | token requests an hour |\n|---|---|---|---|---|---|---|\n", ttls[0], ttls[1])
	for users := 1000; users <= 1_000_000; users *= 10 {
		fmt.Fprintf(to, "| %s |", number(float64(users)))
		var r Reckoning
		for _, ttl := range ttls {
			f.Instances, f.Apps, f.Users, f.LocalTTL = 1, 0, users, ttl
			r = reckon(f)
			fmt.Fprintf(to, " %s | %s |", number(r.Quiet.sum()), share(r.Quiet.cpu().Seconds()))
		}
		fmt.Fprintf(to, " %s | %s |\n", megabytes(int64(users)*bytesOfUser), number(r.Hourly))
	}
}

// number is a number with three digits that count, and commas.
func number(n float64) string {
	switch {
	case n < 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0")
	case n >= 1e6:
		return fmt.Sprintf("%.3g M", n/1e6)
	}
	unit := 1.0
	for n/unit >= 1000 {
		unit *= 10
	}
	text := fmt.Sprintf("%.0f", float64(int64(n/unit+0.5))*unit)
	if len(text) > 3 {
		text = text[:len(text)-3] + "," + text[len(text)-3:]
	}
	return text
}

// share is a share of one thread.
func share(x float64) string {
	if x < 0.1 {
		return fmt.Sprintf("%.2g %%", 100*x)
	}
	return number(100*x) + " %"
}

func megabytes(n int64) string {
	if n >= 1e9 {
		return number(float64(n)/1e9) + " GB"
	}
	return number(float64(n)/1e6) + " MB"
}

func duration(d time.Duration) string {
	if d < time.Second {
		return number(float64(d)/1e6) + " ms"
	}
	return number(d.Seconds()) + " s"
}
