package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// examined runs doctor, as lines and as JSON, and gives its checks by name.
func examined(t *testing.T, want int, change func(*world), args ...string) map[string]check {
	t.Helper()
	checks := map[string]check{}
	for _, more := range []string{"--json=false", "--json"} {
		var out, report bytes.Buffer
		none := func(string) string { return "" }
		w := world{append([]string{"doctor", more}, args...), none, strings.NewReader(""), &out, &report, time.Now}
		if change != nil {
			change(&w)
		}
		if code := run(t.Context(), w); code != want {
			t.Fatalf("doctor %v: exit code %d, want %d: %s%s", args, code, want, out.String(), report.String())
		}
		if more != "--json" {
			if lines := out.String(); !strings.Contains(lines, "permissions") || !strings.Contains(lines, "scripts") {
				t.Errorf("doctor %v:\n%s", args, lines)
			}
			continue
		}
		var list []check
		if err := json.Unmarshal(out.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			checks[c.Check] = c
			if c.Status != statusOK && c.Status != statusSkip && c.Advice == "" {
				t.Errorf("%s is %s, and nothing says what to change", c.Check, c.Status)
			}
		}
	}
	return checks
}

// expect compares one check.
func expect(t *testing.T, checks map[string]check, name, status string, parts ...string) {
	t.Helper()
	c := checks[name]
	if c.Status != status {
		t.Errorf("%s is %q, want %q: %+v", name, c.Status, status, c)
	}
	for _, p := range parts {
		if !strings.Contains(c.Found+" "+c.Advice, p) {
			t.Errorf("%s does not say %q: %+v", name, p, c)
		}
	}
}

func TestDoctorFindsAGoodServerGood(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	keys := newKey(t, "2026b") + "," + newKey(t, "2026a")
	checks := examined(t, exitDone, func(w *world) {
		w.env = func(name string) string { return map[string]string{"TOKEN_CACHE_KEYS": keys}[name] }
	}, s.URL())
	for _, name := range []string{"server", "tls", "latency", "clock", "permissions", "scripts", "slots", "eviction",
		"persistence", "keys"} {
		expect(t, checks, name, statusOK)
	}
	expect(t, checks, "keys", statusOK, "seals with 2026b", "opens also 2026a")
	expect(t, checks, "persistence", statusOK, "no snapshots", "appendonly")
	if left := s.Client().Keys(t.Context(), "*").Val(); len(left) > 0 {
		t.Errorf("doctor left %v", left)
	}
}

// What doctor tries is what docs/redis.md says is needed, no more and no less.
func TestDoctorKnowsTheRule(t *testing.T) {
	t.Parallel()
	commands := func(rule string) (names []string) {
		for _, part := range strings.Fields(rule) {
			if name, ok := strings.CutPrefix(part, "+"); ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	tried := func(commands [][]any, more ...string) (names []string) {
		for _, args := range commands {
			name := fmt.Sprint(args[0])
			if name == "cluster" {
				name += "|" + fmt.Sprint(args[1])
			}
			names = append(names, name)
		}
		names = append(names, more...)
		slices.Sort(names)
		return slices.Compact(names)
	}
	if want, got := commands(rule(t, "acl", "msal")),
		tried(needed("h", "s", "z", "c"), "subscribe", "unsubscribe"); !slices.Equal(want, got) {
		t.Errorf("docs/redis.md has %v\ndoctor tries      %v", want, got)
	}
	if want, got := commands(rule(t, "acl-cluster", "msal")), tried(clustered()); !slices.Equal(want, got) {
		t.Errorf("docs/redis.md has %v\ndoctor tries      %v", want, got)
	}
}

// Every part of the rule that a user lacks is named; with all of it nothing is refused.
func TestDoctorNamesMissingPermissions(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	full := rule(t, "acl", "msal")
	url := func(user string) string { return fmt.Sprintf("redis://%s:a-pass-word@%s", user, s.Addr()) }
	s.AddUser("all", "a-pass-word", full)
	s.Do("ACL", "LOG", "RESET")
	checks := examined(t, exitDone, nil, url("all"))
	expect(t, checks, "permissions", statusOK)
	expect(t, checks, "scripts", statusOK)
	for _, name := range []string{"eviction", "persistence"} {
		expect(t, checks, name, statusSkip, "INFO")
	}
	for _, e := range s.Client().ACLLog(t.Context(), 100).Val() {
		if e.Object != "info" && e.Object != "cluster|slots" {
			// the latter by connect, which finds out whether it is a cluster
			t.Errorf("with the whole rule %q was refused", e.Object)
		}
	}
	for _, part := range strings.Fields(full) {
		if part == "-@all" || part == "resetchannels" || part == "+ping" { // without ping doctor does not get in
			continue
		}
		user := "without" + strings.Trim(part, "+~&:*")
		s.AddUser(user, "a-pass-word", strings.Replace(full+" ", part+" ", "", 1))
		checks := examined(t, exitFinding, nil, url(user))
		if c := checks["permissions"]; c.Status != statusFail || c.Found != "missing: "+part ||
			c.Advice != "ACL SETUSER "+user+" "+part {
			t.Errorf("without %s: %+v", part, c)
		}
	}
}

func TestDoctorOverTLS(t *testing.T) {
	t.Parallel()
	s := redistest.StartTLS(t)
	url := "rediss://" + s.Addr()
	expect(t, examined(t, exitDone, func(w *world) {
		w.now = func() time.Time { return time.Now().Add(-100 * 24 * time.Hour) }
	}, url, "--ca", s.CAFile), "tls", statusOK, "TLS 1.3", "certificate ends")
	expect(t, examined(t, exitDone, nil, url, "--ca", s.CAFile), "tls", statusWarn, "renew") // the test's lives a day
	expect(t, examined(t, exitDone, nil, url+"?skip_verify=true", "--insecure-skip-verify"), "tls",
		statusWarn, "not verified")
	var report bytes.Buffer
	none := func(string) string { return "" }
	w := world{[]string{"doctor", url}, none, nil, &report, &report, time.Now}
	if code := run(t.Context(), w); code != exitFailed || !strings.Contains(report.String(), "CA") {
		t.Errorf("an unknown CA: exit code %d: %s", code, report.String())
	}
	// Without TLS only this machine itself is near enough.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			other := redistest.Start(t, redistest.Args("--bind", "127.0.0.1", ip.IP.String(), "--protected-mode", "no"))
			_, port, _ := net.SplitHostPort(other.Addr())
			expect(t, examined(t, exitDone, nil, "redis://"+net.JoinHostPort(ip.IP.String(), port)), "tls",
				statusWarn, "rediss://")
			return
		}
	}
	t.Log("this machine has no address but the loopback's; TLS beyond it was not looked at")
}

func TestDoctorLooksAtSettings(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for _, c := range []struct {
		policy, memory, status, says string
	}{
		{"allkeys-random", "100mb", statusWarn, "noeviction"},
		{"volatile-ttl", "100mb", statusWarn, "tombstones"},
		{"volatile-lru", "100mb", statusWarn, "a server of their own"},
		{"volatile-lru", "0", statusOK, "no memory limit"},
		{"noeviction", "100mb", statusOK, "of 100 MiB used"},
		{"noeviction", "1", statusWarn, "raise maxmemory"},
	} {
		s.Do("CONFIG", "SET", "maxmemory-policy", c.policy)
		s.Do("CONFIG", "SET", "maxmemory", c.memory)
		code := exitDone
		if c.memory == "1" { // and then the scripts fail
			code = exitFinding
		}
		checks := examined(t, code, nil, s.URL())
		expect(t, checks, "eviction", c.status, c.policy, c.says)
		if c.memory == "1" {
			expect(t, checks, "scripts", statusFail, "Redis is full", "raise maxmemory")
		}
	}
	s.Do("CONFIG", "SET", "maxmemory", "0")
	// A clock: ours is what is injected.
	for offset, says := range map[time.Duration]string{time.Hour: "behind", -time.Hour: "ahead of"} {
		checks := examined(t, exitDone, func(w *world) {
			w.now = func() time.Time { return time.Now().Add(offset) }
		}, s.URL())
		expect(t, checks, "clock", statusWarn, says, "NTP")
	}
	s.ReadOnly()
	expect(t, examined(t, exitFinding, nil, s.URL()), "server", statusFail, "connect to the primary")

	refuses := redistest.Start(t, redistest.Args("--rename-command", "CONFIG", "", "--appendonly", "yes"))
	checks := examined(t, exitDone, nil, refuses.URL())
	expect(t, checks, "eviction", statusOK, "noeviction")
	expect(t, checks, "persistence", statusOK, "append-only file on", "CONFIG is refused")
}

// Old servers say what they are at login only, or by INFO, and one that nobody may ask is not taken for a good one.
// The answers are those of Redis 6.0.16.
func TestDoctorKnowsOldServers(t *testing.T) {
	t.Parallel()
	const (
		no    = "-NOPERM this user has no permissions to run the 'info' command or its subcommand\r\n"
		hello = "*8\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n" +
			"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
		noArgs  = "-ERR wrong number of arguments for 'hello' command\r\n"
		unknown = "-ERR unknown command\r\n"
	)
	info := func(lines string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(lines), lines) }
	for _, c := range []struct {
		name, atLogin, later, info, status string
		says                               []string
	}{
		{"6.0 with the least permissions", hello, no, no, statusOK, []string{"redis 6.0.16, standalone"}},
		{"6.0 with all", hello, hello, info("redis_version:6.0.16\r\nrole:master\r\n"), statusOK,
			[]string{"redis 6.0.16, standalone"}},
		{"5.0, without HELLO", unknown, unknown, info("redis_version:5.0.7\r\nrole:master\r\n"), statusFail,
			[]string{"redis 5.0.7", "update to 6.0"}},
		{"a replica without HELLO", unknown, unknown, info("redis_version:6.2.1\r\nrole:slave\r\n"), statusFail,
			[]string{"connect to the primary"}},
		{"a newer one without HELLO", unknown, unknown, info("redis_version:6.2.1\r\nrole:master\r\n"), statusOK,
			[]string{"redis 6.2.1, standalone"}},
		{"one that says nothing", unknown, unknown, unknown, statusSkip, []string{"version not told", "6.0 or newer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := answeringAll(t, func(words []string) string {
				switch name := strings.ToUpper(words[0]); {
				case name == "HELLO" && len(words) == 1 && c.later != unknown:
					return noArgs
				case name == "HELLO" && slices.Contains(words, "auth"):
					return c.atLogin
				case name == "HELLO":
					return c.later
				case name == "INFO":
					return c.info
				case name == "AUTH":
					return "+OK\r\n"
				}
				return "+PONG\r\n"
			})
			client := redis.NewClient(&redis.Options{Addr: addr, Username: "tokens", Password: "a-pass-word",
				DisableIdentity: true})
			defer client.Close()
			d := &doctor{session: &session{client: client}}
			d.server(t.Context())
			expect(t, map[string]check{"server": d.checks[0]}, "server", c.status, c.says...)
		})
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"6.0.16", "6.2", true}, {"6.2.0", "6.2", false}, {"7.0.15", "6.2", false}, {"10.0", "6.2", false},
		{"", "6.2", true}, {"5", "6.2", true}} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%q, %q) = %v", c.a, c.b, got)
		}
	}
}
