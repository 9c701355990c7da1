package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func total(seconds []second) (c counts, requests, delivered int) {
	for _, s := range seconds {
		c.add(s.counts, 1)
		requests, delivered = requests+s.requests, delivered+s.delivered
	}
	return c, requests, delivered
}

// One instance that wants a token which nobody has sends eight commands, of which its caller waits for five.
func TestOneInstance(t *testing.T) {
	f := defaults()
	f.Instances, f.Apps = 1, 1
	c, requests, _ := total(simulate(f, 3*time.Second, 0, 1))
	want := counts{load: 1, look: 2, lease: 1, store: 1, enlist: 1, keep: 1, release: 1}
	if c != want || requests != 1 {
		t.Errorf("%v and %d requests, want %v and one", c, requests, want)
	}
}

// However many instances: one request for a token that nobody has, one when it is due, one when it was forgotten. And
// all that wait are woken, at once.
func TestOneRequestEach(t *testing.T) {
	f := defaults()
	f.Instances = 200
	f.Life = lastMinutes + 4*time.Minute // due after two minutes
	all := simulate(f, 3*time.Minute+30*time.Second, 3*time.Minute, 1)
	for _, part := range []struct {
		what     string
		from, to int
	}{{"start", 0, 120}, {"due", 120, 180}, {"gone", 180, 210}} {
		c, requests, delivered := total(all[part.from:part.to])
		if requests != 1 {
			t.Errorf("%s: %d requests", part.what, requests)
		}
		if part.what == "start" && (delivered == 0 || delivered != int(c[subscribe])) {
			t.Errorf("%d woken of %.0f that wait", delivered, c[subscribe])
		}
		if part.what == "gone" && delivered < f.Instances {
			t.Errorf("%d hear of the removal", delivered)
		}
		if part.what != "due" && c[lease] > c[look] {
			t.Errorf("%s: who tries for the lease has looked before: %v", part.what, c)
		}
	}
}

// The same seed gives the same, another one not.
func TestSeed(t *testing.T) {
	f := defaults()
	one, same := simulate(f, time.Minute, 0, 1), simulate(f, time.Minute, 0, 1)
	if !reflect.DeepEqual(one, same) {
		t.Error("two simulations of one seed differ")
	}
	if reflect.DeepEqual(one, simulate(f, time.Minute, 0, 2)) {
		t.Error("the seed makes no difference")
	}
}

// What is multiplied is what the simulation shows where nothing happens, and what TestLongCommandsOfAnInstance
// measures: 12 readings of the change log a minute, and a look every five minutes.
func TestQuiet(t *testing.T) {
	f := defaults()
	f.Instances, f.Apps, f.Life = 20, 1, 24*time.Hour
	r := Reckoning{Fleet: f}
	r.steady()
	c, _, _ := total(simulate(f, 62*time.Minute, 0, 1)[120:3720])
	for _, what := range []command{load, heed} {
		if want := r.Quiet[what] * 3600; c[what] < 0.95*want || c[what] > 1.05*want {
			t.Errorf("%s: %.0f in an hour, reckoned %.0f", names[what], c[what], want)
		}
	}
	r = Reckoning{Fleet: f}
	r.Instances, r.Apps = 1, 1000
	r.steady()
	if perMinute := r.Quiet[heed] * 60; perMinute < 11.5 || perMinute > 12 {
		t.Errorf("%.1f readings a minute", perMinute)
	}
}

// A user is asked about by himself, twice in LocalTTL.
func TestUsers(t *testing.T) {
	f := defaults()
	f.Apps, f.Users, f.UserOn = 0, 1000, 2
	if got := reckon(f).Quiet.sum(); got != 400 {
		t.Errorf("%.0f commands a second, want 400", got)
	}
}

func TestFits(t *testing.T) {
	for load, want := range map[float64]string{0.1: sizes[0].name, 0.81: sizes[1].name, 4: sizes[3].name, 1000: ""} {
		if got := fits(load); got != want {
			t.Errorf("%v: %q, want %q", load, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 1.26: "1.3", 12: "12", 999: "999", 1234: "1,230", 123456: "123,000",
		9996: "10,000", 2345678: "2.35 M"} {
		if got := number(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}

// The program prints the rows of docs/capacity.md, and draws.
func TestProgram(t *testing.T) {
	folder := t.TempDir()
	var out, log bytes.Buffer
	args := []string{"--instances", "10", "--partitions", "10,100", "--results", folder}
	if code := run(args, &out, &log); code != 0 || log.Len() > 0 {
		t.Fatalf("%d: %s", code, log.String())
	}
	text, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/capacity.md does not have what the program prints: %s", line)
		}
	}
	picture, err := os.ReadFile(filepath.Join(folder, "capacity.svg"))
	if err != nil || !bytes.Contains(picture, []byte("</svg>")) {
		t.Errorf("the picture: %v", err)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"--instances", "0"}, {"--every", "0s"}, {"--life", "5m"}, {"--refreshat", "1"},
		{"--no-such"}} {
		var out, log bytes.Buffer
		if code := run(args, &out, &log); code != 2 || log.Len() == 0 || out.Len() > 0 {
			t.Errorf("%v: %d, %q", args, code, log.String())
		}
	}
	var out, log bytes.Buffer
	if code := run([]string{"--help"}, &out, &log); code != 0 {
		t.Errorf("--help: %d", code)
	}
}
