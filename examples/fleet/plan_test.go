package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// Without --full the phases that show most are played, with tokens that live for two seconds; flags of the user's stay.
func TestFullPlaysAll(t *testing.T) {
	for _, test := range []struct {
		args   string
		phases int
		life   time.Duration
	}{
		{"", 4, shortLife}, {"--full", len(allPhases), fullLife}, {"--full --life=3s", len(allPhases), 3 * time.Second},
		{"--full --phases=cold", 1, fullLife}, {"--phases=cold,down", 2, shortLife},
	} {
		cfg, err := parseConfig(strings.Fields(test.args), func(string) string { return "" }, new(bytes.Buffer))
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Phases) != test.phases || cfg.Life != test.life {
			t.Errorf("%s: %v, %v", test.args, cfg.Phases, cfg.Life)
		}
	}
}

// The steps are counted, and the time that is left shrinks to nothing; what is left out is in neither.
func TestProgressCountsDown(t *testing.T) {
	cfg, err := parseConfig([]string{"--systems=plain,library"}, func(string) string { return "" }, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := newProgress(&out)
	p.plan(cfg)
	for _, ph := range cfg.phases() {
		if ph.name == "kill" {
			p.skip(cfg, ph)
			continue
		}
		for range cfg.systems() {
			p.begin(ph.title, ph.takes(cfg)+toLaunch, func() int { return -1 })
			p.end(&outcome{}, nil)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[0], "1 of 8, ") ||
		!strings.HasPrefix(lines[5], "6 of 6, about 0 s left") {
		t.Errorf("%q", lines)
	}
}
