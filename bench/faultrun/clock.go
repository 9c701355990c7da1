package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// buildShifted builds this program with another time.Now: MSAL reads the wall clock and takes no other, so a process
// whose clock is wrong is one that was built with a time package whose clock is.
func buildShifted(ctx context.Context) (binary string, clean func(), err error) {
	fail := func(err error) (string, func(), error) {
		return "", nil, fmt.Errorf("building a worker whose clock is off (--clocks=false does without): %w", err)
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fail(err)
	}
	source := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return fail(err)
	}
	changed := string(text)
	for _, edit := range []struct{ old, new string }{
		{"import (\n", "import (\n\t\"syscall\"\n"},
		{"\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n",
			"\tsec, nsec, mono := runtimeNow()\n\tsec += clockOffset\n\tif mono == 0 {\n"},
	} {
		if strings.Count(changed, edit.old) != 1 {
			return fail(fmt.Errorf("%s of %s is not as expected: %q", source, runtime.Version(), edit.old))
		}
		changed = strings.Replace(changed, edit.old, edit.new, 1)
	}
	changed += "\nvar clockOffset = func() int64 {\n\ttext, _ := syscall.Getenv(\"" + clockMark + "\")\n\tn, _ := " +
		"atoi(text)\n\treturn int64(n)\n}()\n"
	dir, err := os.MkdirTemp("", "faultrun-")
	if err != nil {
		return fail(err)
	}
	clean = func() { os.RemoveAll(dir) }
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	binary = filepath.Join(dir, "worker")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: replacement}})
	if err == nil {
		err = os.WriteFile(replacement, []byte(changed), 0o600)
	}
	if err == nil {
		err = os.WriteFile(overlay, list, 0o600)
	}
	if err == nil {
		var out []byte
		if out, err = exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary,
			"github.com/msal-redis/msal-redis-go/bench/faultrun").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		clean()
		return fail(err)
	}
	return binary, clean, nil
}
