package removal

import (
	"fmt"
	"testing"
	"time"
)

func scen() []struct {
	n string
	b Bounds
} {
	base := Bounds{Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1}
	with := func(f func(*Bounds)) Bounds { b := base; f(&b); return b }
	return []struct {
		n string
		b Bounds
	}{
		{"base", base},
		{"many", with(func(b *Bounds) { b.SignIns = 3; b.SignOuts = 2; b.Refreshes = 0 })},
		{"rotate", with(func(b *Bounds) { b.Rotate = true; b.Refreshes = 2; b.LeaseEnds = true })},
		{"late", with(func(b *Bounds) { b.Late = true; b.Ticks = 2; b.Refreshes = 0 })},
		{"cut", with(func(b *Bounds) { b.Cuts = 2 })},
		{"declined", with(func(b *Bounds) { b.Declined = true; b.Cuts = 1 })},
		{"aging", with(func(b *Bounds) { b.Aging = true; b.Cuts = 1; b.SignIns = 2 })},
		{"aging declined", with(func(b *Bounds) { b.Aging = true; b.Cuts = 1; b.Declined = true; b.Refreshes = 0 })},
		{"loss", with(func(b *Bounds) { b.Loss = true; b.Cuts = 1 })},
		{"evict crash", with(func(b *Bounds) { b.Evict = true; b.Cuts = 0; b.Crash = true })},
		{"slow", with(func(b *Bounds) { b.SlowLooks = true })},
		{"slow loss", with(func(b *Bounds) { b.SlowLooks = true; b.Loss = true; b.Refreshes = 0 })},
		{"answers", with(func(b *Bounds) { b.SignIns = 1; b.Answers = 1; b.Cuts = 1; b.Refreshes = 0; b.Aging = true })},
		{"clock", with(func(b *Bounds) { b.ClockError = 1; b.Cuts = 1; b.Refreshes = 0; b.Ticks = 0 })},
		{"clock 2", with(func(b *Bounds) { b.ClockError = 1; b.SignOuts = 2; b.Refreshes = 0 })},
		{"clock late", with(func(b *Bounds) { b.ClockError = 1; b.Late = true; b.Refreshes = 0; b.Ticks = 1 })},
		{"clock lift", with(func(b *Bounds) { b.ClockError = 3; b.Cuts = 1; b.Refreshes = 0 })},
		{"clock merge", with(func(b *Bounds) {
			b.ClockError = 5
			b.Cuts = 1
			b.Refreshes = 0
			b.SignOuts = 2
			b.SignIns = 3
			b.Nobody = true
		})},
		{"declined nobody", with(func(b *Bounds) { b.Declined = true; b.Cuts = 1; b.SignIns = 1; b.Nobody = true })},
		{"wipe", with(func(b *Bounds) { b.Loss = true; b.Evict = true })},
		{"three", with(func(b *Bounds) { b.Instances = 3; b.Refreshes = 1 })},
	}
}

func TestX(t *testing.T) {
	for _, tt := range scen() {
		t.Run(tt.n, func(t *testing.T) {
			at := time.Now()
			r := Explore(All, tt.b, 1_500_000)
			fmt.Printf("%s: %d states %v %q %v\n", tt.n, r.States, r.Cut, r.Broken, time.Since(at).Round(time.Millisecond))
			for i, s := range r.Trace {
				fmt.Printf("%2d %s\n", i+1, s)
			}
		})
	}
}
func TestAbl(t *testing.T) {
	for i, n := range names {
		if n != "TFromRedis" && n != "TCoversAsking" && n != "TAboveRecord" && n != "TAboveCaller" && n != "RefuseOnlyThose" && n != "SecretKnown" && n != "LiftSession" && n != "TAboveTombstone" && n != "SessionFromRedis" && n != "AgedNotServed" && n != "TBack" {
			continue
		}
		fmt.Printf("#### -%s\n", n)
		for _, tt := range scen() {
			r := Explore(All&^(1<<i), tt.b, 400_000)
			if r.Broken != "" {
				fmt.Printf("    %s: %d states, %d steps: %s\n", tt.n, r.States, len(r.Trace), r.Broken)
			}
		}
	}
}
