package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// onTerminal is a run whose output goes to a terminal of so many columns, and what that shows.
func (f *fleet) onTerminal(columns int, change func(*world), args ...string) (result, string) {
	f.t.Helper()
	ours, theirs := terminalOf(f.t, columns)
	defer ours.Close()
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(ours) // ends with EIO when the other end is closed
		shown <- strings.ReplaceAll(string(text), "\r\n", "\n")
	}()
	r := f.runWith(func(w *world) {
		w.out = theirs
		if change != nil {
			change(w)
		}
	}, args...)
	theirs.Close()
	text := <-shown
	f.mu.Lock()
	defer f.mu.Unlock()
	f.printed.WriteString(text)
	return r, text
}

func terminalOf(t *testing.T, columns int) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	control := func(f *os.File, request uintptr, arg unsafe.Pointer) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
			t.Fatal(errno)
		}
	}
	var unlocked, number int32
	control(ours, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	control(ours, syscall.TIOCGPTN, unsafe.Pointer(&number))
	if theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	size := [4]uint16{24, uint16(columns)}
	control(theirs, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	return ours, theirs
}

// A list and a record fit the terminal, whatever its width, and no id is cut.
func TestTablesFitTheTerminal(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.fill()
	whole := map[string][]string{}
	var ids []string
	for _, it := range f.listed() {
		whole["list"] = append(append(append(append(whole["list"], string(it.ID), it.Kind), it.Tenants...), it.Clients...),
			it.Scopes...)
		ids = append(ids, string(it.ID))
	}
	whole["show "+ids[len(ids)-1]] = []string{tenant, clientID, "RefreshToken", userScope}
	for args, wanted := range whole {
		args := strings.Fields(args)
		full := f.must(args...)
		for _, columns := range []int{80, 100, 132, 1000} {
			r, text := f.onTerminal(columns, nil, args...)
			if r.code != exitDone {
				t.Fatalf("exit code %d: %s", r.code, r.report)
			}
			for line := range strings.Lines(text) { // a home account id takes 82 columns, and stands alone
				if widest(line) > columns && !strings.HasPrefix(line, "account ") {
					t.Errorf("%s on %d columns:\n%s", args, columns, text)
				}
			}
			for _, word := range wanted {
				if !strings.Contains(text, word) {
					t.Errorf("%s on %d columns has no %q:\n%s", args, columns, word, text)
				}
			}
			if got, lines := strings.Count(text, "\n"), strings.Count(full, "\n"); (got == lines) != (columns == 1000) {
				t.Errorf("%s on %d columns takes %d lines, in a file %d:\n%s", args, columns, got, lines, text)
			}
		}
	}
	_, narrow := f.onTerminal(80, nil, "list")
	_, wide := f.onTerminal(132, nil, "list")
	if strings.Count(wide, "\n") >= strings.Count(narrow, "\n") {
		t.Errorf("132 columns are not used:\n%s\n80:\n%s", wide, narrow)
	}
	lines := strings.Count(f.must("list", "--json"), "\n")
	if _, text := f.onTerminal(80, nil, "list", "--json"); strings.Count(text, "\n") != lines {
		t.Errorf("JSON depends on the terminal:\n%s", text)
	}
}

// Colours are for a person's terminal, unless he has turned them off; scripts get none.
func TestDoctorColours(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.redis.Do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")                   // a warning
	f.redis.AddUser("oncall", "a-pass-word", rule(t, "acl", f.prefix)+" +info -pttl") // a failure
	f.url = f.as("oncall", "a-pass-word")
	with := func(values ...string) func(*world) {
		return func(w *world) {
			env := w.env
			w.env = func(name string) string {
				for i := 0; i < len(values); i += 2 {
					if values[i] == name {
						return values[i+1]
					}
				}
				return env(name)
			}
		}
	}
	coloured := []string{"\n\x1b[32mok\x1b[0m    tls ", "\n\x1b[33mwarn\x1b[0m  eviction ",
		"\n\x1b[31mfail\x1b[0m  permissions "}
	for _, c := range []struct {
		name   string
		change func(*world)
		args   string
		want   bool
	}{
		{"a terminal", nil, "doctor", true},
		{"NO_COLOR is empty", with("NO_COLOR", ""), "doctor", true},
		{"xterm", with("TERM", "xterm-256color"), "doctor", true},
		{"NO_COLOR", with("NO_COLOR", "1"), "doctor", false},
		{"NO_COLOR, whatever its value", with("NO_COLOR", "0"), "doctor", false},
		{"a terminal without colours", with("TERM", "dumb"), "doctor", false},
		{"JSON", nil, "doctor --json", false},
	} {
		r, text := f.onTerminal(80, c.change, strings.Fields(c.args)...)
		if r.code != exitFinding {
			t.Errorf("%s: exit code %d: %s", c.name, r.code, r.report)
		}
		if !c.want {
			clean(t, c.name, text)
			continue
		}
		for _, colour := range coloured {
			if !strings.Contains(text, colour) {
				t.Errorf("%s: no %q in %q", c.name, colour, text)
			}
		}
	}
	r := f.run("doctor")
	clean(t, "a file", r.out+r.report)
	_, text := f.onTerminal(80, with("NO_COLOR", "1"), "doctor")
	for _, line := range []string{"ok    tls ", "warn  eviction ", "fail  permissions "} {
		if !strings.Contains(text, "\n"+line) || !strings.Contains(r.out, "\n"+line) {
			t.Errorf("no line %q:\n%s%s", line, text, r.out)
		}
	}
	for line := range strings.Lines(text) { // advice goes on below itself; in a file it is one line
		if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, strings.Repeat(" ", 20)) && len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if !strings.Contains(text, "\n                       ") || strings.Contains(r.out, "\n                       ") {
		t.Errorf("the advice on a terminal:\n%s\nand in a file:\n%s", text, r.out)
	}
}
