package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// invoked runs the command with nothing to talk to.
func invoked(env map[string]string, args ...string) (code int, printed string) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	getenv := func(name string) string { return env[name] }
	code = run(ctx, world{args, getenv, strings.NewReader(""), &out, &out, time.Now})
	return code, out.String()
}

// However a command line is mistaken, no password in it is printed.
func TestNoPasswordIsPrinted(t *testing.T) {
	t.Parallel()
	const secret = "Sesame-0123"
	const once = "?dialer_retries=1&max_retries=-1"
	good := "redis://user:" + secret + "@127.0.0.1:1" + once
	for _, url := range []string{good, "rediss://:" + secret + "@127.0.0.1:1" + once,
		"redis://:" + secret + ":127.0.0.1:1", "redis://user:" + secret + "@127.0.0.1:1{", "user:" + secret + "@127.0.0.1",
		"name.redis.cache.windows.net:6380,password=" + secret + ",ssl=True,abortConnect=False",
		"rediss://name.redis.cache.windows.net:6380,ssl=True,password=p@" + secret, secret} {
		for _, line := range [][]string{
			{url}, {"list", url}, {url, "list"}, {"show", url}, {"show", "a", url}, {"keygen", url}, {"keygen", "a", url},
			{"doctor", url}, {"doctor", "a", url}, {"purge", url}, {"reseal", url},
			{"watch", url}, {"help", url}, {"help", "list", url}, {"completion", url}, {"completion", "bash", url},
			{"list", "--redis", url}, {"list", "--redis=" + url}, {"list", "--redis", "x", url},
			{"list", "--redis" + url}, {"list", "--" + url}, {"list", "--=" + url}, {"list", "---" + url}, {"list", "-" + url},
			{"list", "-r" + url}, {"list", "-h=" + url}, {"list", "-r", url}, {"list", "--url=" + url}, {"list", "--url", url},
			{"list", "--json=" + url}, {"list", "--entra=" + url}, {"list", "--insecure-skip-verify=" + url},
			{"list", "--help=" + url}, {"watch", "--every", url}, {"watch", "--every=" + url}, {"list", "--ca", url},
			{"list", "--ca=" + url, "--redis=rediss://127.0.0.1:1"},
			{"list", "--prefix", url}, {"watch", "--prefix=" + url}, {"purge", "--yes=" + url},
			{"purge", "--dry-run=" + url, "--account", "a"}, {"purge", "--account", url},
			{"purge", "--account", url, "--scope", url},
			{"purge", "--client", url, "--tenant", "t"}, {"purge", "--client", "c", "--tenant", url},
			{"purge", "--client", url, "--dry-run"}, {"list", "--scope", url}, {"--redis", url, "nonsense"}, {"--redis"},
			{"list", "--", url}, {url + url}, {"list" + url}, {"__complete", url, ""},
			{"__complete", "list", url, ""}, {"__complete", "list", "--redis", url, ""}, {"--" + secret}, {"-" + secret},
		} {
			for name, env := range map[string]map[string]string{
				"its place": {"REDIS_URL": good}, "malformed": {"REDIS_URL": url},
				"where keys belong": {"REDIS_URL": good, "TOKEN_CACHE_KEYS": url},
			} {
				if name != "its place" && (len(line) > 2 || line[0] == "__complete") || line[0] == "keygen" && url == secret {
					continue // a key's id is printed; and those differ in what they read the environment for
				}
				if code, printed := invoked(env, line...); strings.Contains(printed, secret) {
					t.Errorf("%q with the URL in %s: exit code %d: %s", line, name, code, printed)
				}
			}
		}
	}
	// What is no more than a word is named.
	for line, want := range map[string]string{"lost": `unknown command "lost"`, "list --all": `unknown flag "all"`,
		"list lost": `"lost"`, "watch --every soon": "--every has a value that is no duration",
		"list --redis": "after --redis", "list --json=x": "--json has a value that is no bool",
		"show": "an argument is missing; see msalredis show --help"} {
		if code, printed := invoked(nil, strings.Fields(line)...); code != exitUsage || !strings.Contains(printed, want) {
			t.Errorf("%s: exit code %d, want %q: %s", line, code, want, printed)
		}
	}
}

// FuzzInvocation: whatever the words, the command ends with one of its exit codes and prints neither a password nor
// what moves the cursor.
func FuzzInvocation(f *testing.F) {
	const secret = "Sesame-0123"
	for _, line := range []string{"list", "list redis://:" + secret + "@h", "-r" + secret, "--json=" + secret,
		"help " + secret, "purge --account " + secret, "__complete list " + secret + " ", "show -BBBBBBBBBBBBBBBBBBBBBBB",
		"--\x1b[31m", "watch --every=" + secret, "completion " + secret, "list --ca " + secret, "--redis=unix://" + secret,
		"purge --client a --tenant b --yes"} {
		f.Add(line, "redis://:"+secret+":127.0.0.1:1", "k:"+secret)
	}
	f.Fuzz(func(t *testing.T, line, url, keys string) {
		args := strings.Split(line, " ")
		for _, a := range args {
			if strings.HasPrefix(a, "__comp") || strings.HasPrefix(a, "--entra") || strings.HasPrefix(a, "comp") ||
				a == "keygen" {
				t.Skip() // scripts for shells, a login, and a key
			}
		}
		var out, report bytes.Buffer
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nobody is asked
		env := map[string]string{"REDIS_URL": url, "TOKEN_CACHE_KEYS": keys}
		getenv := func(name string) string { return env[name] }
		code := run(ctx, world{args, getenv, io.LimitReader(nil, 0), &out, &report, time.Now})
		switch code {
		case exitDone, exitFailed, exitUsage, exitFinding, exitInterrupted:
		default:
			t.Fatalf("exit code %d", code)
		}
		printed := out.String() + report.String()
		if strings.Contains(printed, secret) {
			t.Fatalf("%q prints a password: %s", line, printed)
		}
		clean(t, line, printed)
	})
}
