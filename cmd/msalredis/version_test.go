package main

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for want, info := range map[string]*debug.BuildInfo{
		"msalredis (devel) unknown Go": nil,
		"msalredis (devel) go1.26.1":   {GoVersion: "go1.26.1"},
		"msalredis v1.2.3 go1.26.1":    {GoVersion: "go1.26.1", Main: debug.Module{Version: "v1.2.3"}},
		"msalredis (devel) 0123abc go1.26.1": {GoVersion: "go1.26.1", Settings: []debug.BuildSetting{
			setting("vcs.revision", "0123abc"), setting("vcs.modified", "false")}},
		"msalredis v1.2.4-0.20270101 0123abc (modified) go1.26.1": {GoVersion: "go1.26.1",
			Main:     debug.Module{Version: "v1.2.4-0.20270101"},
			Settings: []debug.BuildSetting{setting("vcs.revision", "0123abc"), setting("vcs.modified", "true")}},
	} {
		if got := versionOf(info).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if code, printed := invoked(nil, "--version"); code != exitDone || !strings.HasPrefix(printed, "msalredis ") ||
		!strings.HasSuffix(printed, " "+runtime.Version()+"\n") || strings.Count(printed, "\n") != 1 {
		t.Errorf("exit code %d: %s", code, printed)
	}
	code, printed := invoked(nil, "--version", "--json")
	var v version
	if err := json.Unmarshal([]byte(printed), &v); err != nil || code != exitDone || v.Version == "" ||
		v.Go != runtime.Version() {
		t.Errorf("exit code %d, %v: %s", code, err, printed)
	}
	if code, printed := invoked(nil, "--version", "lost"); code != exitUsage {
		t.Errorf("exit code %d: %s", code, printed)
	}
}
