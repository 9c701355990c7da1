package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A worker that hangs, and one that dies, cost the run that worker: the others are told the next order, and the checker
// names both.
func TestFleetGoesOnWithoutWhoHangs(t *testing.T) {
	dir := t.TempDir()
	const ready, done = "read setup\necho '{\"Ready\":true}'\n", "read order && echo '{\"Kind\":\"done\"}'\n"
	scripts := []string{ready + done + done + done, ready + done + "exec sleep 1000\n", ready + "exit 1\n"}
	for i, text := range scripts {
		scripts[i] = filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(scripts[i], []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f := &fleet{began: time.Now(), patience: 5 * time.Second,
		binaries: func(slot int) (string, int) { return scripts[slot], 0 }}
	defer f.stop()
	for slot := range scripts {
		p, err := f.start(t.Context(), slot, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.slots = append(f.slots, p)
	}
	for _, do := range []string{"rest", "rollcall", "close"} {
		if err := f.all(t.Context(), do); err != nil {
			t.Errorf("%s: %v", do, err)
		}
	}
	for _, p := range f.slots {
		if err := p.end(t.Context()); err != nil {
			t.Error(err)
		}
	}
	h := history{}
	for _, l := range f.lives {
		h.Lives = append(h.Lives, *l)
		h.Calls = append(h.Calls, call{Worker: l.Worker, Flow: flowSignOut, Start: 1, End: 1})
	}
	var said []string
	for _, v := range check(h).Violations {
		said = append(said, v.Rule+": "+v.Text)
	}
	want := "not ended cleanly: worker 2 died or did not close\nnot ended cleanly: worker 1 hung when it was told to " +
		"rollcall, and was killed"
	if got := strings.Join(said, "\n"); got != want {
		t.Errorf("the checker says\n%s\nwant\n%s", got, want)
	}
}
