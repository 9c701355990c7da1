package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// clean is the environment of a machine where nothing is configured.
func clean(t *testing.T) {
	for _, name := range []string{"REDIS_URL", "AZURE_SCOPE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID",
		"AZURE_CLIENT_SECRET"} {
		t.Setenv(name, "")
	}
}

func TestHelp(t *testing.T) {
	clean(t)
	t.Setenv("REDIS_URL", "redis://:a-password@127.0.0.1:1")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &stdout, &stderr); code != exitKept {
		t.Errorf("exit status %d", code)
	}
	wants := []string{"Usage:", "--workers", "--redis", "REDIS_URL is read with the real Entra ID only",
		"--json", "--plot", "Exit status:"}
	for _, want := range append(wants, phaseNames()...) {
		if !strings.Contains(strings.Join(strings.Fields(stdout.String()), " "), want) {
			t.Errorf("it does not say %q:\n%s", want, stdout.String())
		}
	}
	if strings.Contains(stdout.String(), "a-password") {
		t.Errorf("the password shows:\n%s", stdout.String())
	}
	for line := range strings.Lines(stdout.String()) {
		if n := len(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(stdout.String(), "without-gate") || stderr.Len() > 0 {
		t.Errorf("stdout %q\nstderr %q", stdout.String(), stderr.String())
	}
}

func TestBadInputIsNamed(t *testing.T) {
	clean(t)
	for _, tt := range []struct {
		args, want string
	}{
		{"--no-such-flag", "unknown flag: --no-such-flag"},
		{"surplus", `unexpected argument "surplus"`},
		{"--workers=0", "--workers is 0"},
		{"--goroutines=-1", "--goroutines is -1"},
		{"--tenants=many", `"--tenants"`},
		{"--latency=-1s", "--latency is -1s"},
		{"--life=1500ms", "--life is 1.5s"},
		{"--lock-ttl=1ms", "--lock-ttl is 1ms"},
		{"--phases=", "--phases"},
		{"--phases=cold,hot", `there is no "hot", only cold, `},
		{"--systems=", "--systems"},
		{"--systems=better", `there is no "better", only plain, `},
		{"--workers=1", "the phase kill needs another one"},
		{"--redis=nonsense:a-password", "--redis: not a Redis URL"},
		{"--redis=redis://:a-password@127.0.0.1:1", "--redis: no Redis at 127.0.0.1:1: leave it out to use the one inside"},
		{"--plot=no/such/folder/x.svg", "--plot: there is no folder no/such/folder"},
		{"--plot=.", "--plot: . is a folder"},
		{"--scope=https://graph.microsoft.com/.default", "AZURE_TENANT_ID"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{tt.args}, &stdout, &stderr)
		if code != exitTrouble || !strings.HasPrefix(stderr.String(), "fleet: ") ||
			!strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s: exit status %d, stderr %q, want something like %q", tt.args, code, stderr.String(), tt.want)
		}
		if strings.Contains(stderr.String(), "a-password") || stdout.Len() > 0 {
			t.Errorf("%s: stdout %q, stderr %q", tt.args, stdout.String(), stderr.String())
		}
	}
}

// With the real Entra ID a Redis that the environment names is named by the variable: whoever has set it for another
// program knows then what to unset. A flag, also an empty one, goes before it. The emulator's tokens do not go there.
func TestREDIS_URLIsForTheRealEntraID(t *testing.T) {
	clean(t)
	t.Setenv("AZURE_TENANT_ID", "a")
	t.Setenv("AZURE_CLIENT_ID", "b")
	t.Setenv("AZURE_CLIENT_SECRET", "c")
	real := "--scope=https://graph.microsoft.com/.default"
	for url, want := range map[string]string{
		"redis://:a-password@127.0.0.1:1": "fleet: REDIS_URL: no Redis at 127.0.0.1:1: unset it to use the one inside the " +
			"demonstration",
		"nonsense:a-password": "fleet: REDIS_URL: not a Redis URL such as redis://:password@host:6379/0: unset it",
	} {
		t.Setenv("REDIS_URL", url)
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{real}, &stdout, &stderr)
		if code != exitTrouble || !strings.HasPrefix(stderr.String(), want) ||
			strings.Contains(stdout.String()+stderr.String(), "a-password") {
			t.Errorf("exit status %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
		}
		for _, args := range [][]string{{real, "--redis="}, {"--redis="}, nil} {
			if cfg, err := parseConfig(args, os.Getenv, &stdout); err != nil || cfg.Redis != "" {
				t.Errorf("%q: %q, %v", args, cfg.Redis, err)
			}
		}
	}
}
