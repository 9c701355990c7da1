package main

import (
	"strings"
	"testing"
)

// A signed-out user does not come back from the memory of an instance that runs, on-behalf-of answers included.
func TestPurgeSignsOutOfRunningInstances(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{
		"account": "--account " + user.HomeAccountID(), "user name": "--account " + user.Username, "tenant": "--tenant " + tenant, "client": "--client " + clientID,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			i := f.instance()
			i.signIn()
			i.onBehalfOf()
			if err := i.silent(); err != nil {
				t.Fatal(err)
			}
			before := f.must(append([]string{"purge", "--dry-run"}, strings.Fields(args)...)...)
			if !strings.Contains(before, "sign out "+user.HomeAccountID()) || kinds(f.listed()) != "obo-answer user" {
				t.Errorf("a dry run: %s", before)
			}
			f.must(append([]string{"purge", "--yes"}, strings.Fields(args)...)...)
			if got := kinds(f.listed()); got != "" {
				t.Errorf("left: %s", got)
			}
			if n := f.requests(func() {
				f.eventually("the sign-out to reach the instance", func() bool { return i.silent() != nil })
			}); n != 0 {
				t.Errorf("%d token requests with a token that was purged", n)
			}
			if got := kinds(f.listed()); got != "" {
				t.Errorf("came back: %s", got)
			}
			i.signIn() // a sign-in after it is kept
			if err := i.silent(); err != nil {
				t.Error(err)
			}
		})
	}
}

// An app's tokens are forgotten: the next call on a running instance is a token request. Another scope is left alone.
func TestPurgeMakesAppsAskAnew(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	i := f.instance()
	both := func() { i.appToken(graph); i.appToken(dataverse) }
	// The instance hears of it a moment later, and then asks for what was forgotten and nothing else.
	afterwards := func(want int) int {
		return f.requests(func() {
			before := f.entra.Count()
			f.eventually("the instance to ask anew", func() bool { both(); return f.entra.Count() >= before+want })
			both()
		})
	}
	both()
	if n := f.requests(both); n != 0 {
		t.Fatalf("%d token requests before", n)
	}
	f.must("purge", "--client", clientID, "--scope", graph, "--yes")
	if n := afterwards(1); n != 1 {
		t.Errorf("%d token requests after the purge of one scope, want 1", n)
	}
	f.must("purge", "--tenant", tenant, "--yes")
	if n := afterwards(2); n != 2 {
		t.Errorf("%d token requests after the purge of the tenant, want 2", n)
	}
	// Exact names need neither keys nor SCAN.
	f.redis.AddUser("oncall", "a-pass-word", rule(t, "acl", f.prefix))
	f.url = f.as("oncall", "a-pass-word")
	if r := f.runWith(withoutKeys, "purge", "--client", clientID, "--tenant", tenant, "--yes"); r.code != exitDone {
		t.Fatal(r.report)
	}
	if n := afterwards(2); n != 2 {
		t.Errorf("%d token requests after the purge without keys, want 2", n)
	}
	i.signIn()
	if r := f.runWith(withoutKeys, "purge", "--account", user.HomeAccountID(), "--yes"); r.code != exitDone {
		t.Fatal(r.report)
	}
	f.eventually("the sign-out to reach the instance", func() bool { return i.silent() != nil })
	if r := f.runWith(withoutKeys, "purge", "--tenant", tenant, "--yes"); r.code != exitUsage || !strings.Contains(r.report, "TOKEN_CACHE_KEYS") {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

func TestPurgeAsksFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.fill()
	for _, answer := range []string{"", "n\n", "no\n", "yess\n"} {
		r := f.runWith(func(w *world) { w.in = strings.NewReader(answer) }, "purge", "--tenant", tenant)
		if r.code != exitFailed || !strings.Contains(r.report, "2 removals. Go on?") || !strings.Contains(r.report, "nothing was removed") {
			t.Errorf("%q: exit code %d: %s", answer, r.code, r.report)
		}
		if got := kinds(f.listed()); got != "app app-answer obo-answer pause user" {
			t.Fatalf("%q: left %s", answer, got)
		}
	}
	r := f.runWith(func(w *world) { w.in = strings.NewReader("Y\n") }, "purge", "--tenant", tenant)
	if r.code != exitDone {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
	// A pause is no token, and stays.
	if got := kinds(f.listed()); got != "pause" {
		t.Errorf("left %s", got)
	}
	if r := f.run("purge", "--tenant", "another", "--yes"); r.code != exitFinding || !strings.Contains(r.report, "nothing matches") {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}
