package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// fill stores one of each kind.
func (f *fleet) fill() *instance {
	f.t.Helper()
	i := f.instance()
	i.appToken(graph)
	i.signIn()
	i.onBehalfOf()
	remove := f.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "600",
		Match: entratest.ByScope(dataverse)})
	if _, err := i.app.AcquireTokenByCredential(f.t.Context(), []string{dataverse}); err == nil {
		f.t.Fatal("Entra ID does not throttle")
	}
	remove()
	return i
}

func TestListSaysWhoseAndNeverTokens(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.fill()
	items := f.listed()
	if got := kinds(items); got != "app app-answer obo-answer pause user" {
		t.Fatalf("kinds %q", got)
	}
	for _, it := range items {
		if !slices.Contains(it.Clients, clientID) || !slices.Contains(it.Tenants, tenant) || it.Bytes < 100 ||
			it.Until.IsZero() || it.SealedWith["2026a"] == 0 || it.Unreadable != 0 {
			t.Errorf("%+v", it)
		}
		scope := graph
		switch it.Kind {
		case kindPause:
			scope = dataverse
			if it.Status != "429 throttled" {
				t.Errorf("the pause's status is %q", it.Status)
			}
		case kindUser, kindOBOAnswer:
			scope = userScope
			if it.Account != user.HomeAccountID() || it.Username != user.Username {
				t.Errorf("%s: account %q, user %q", it.Kind, it.Account, it.Username)
			}
		}
		if !slices.ContainsFunc(it.Scopes, func(s string) bool { return strings.EqualFold(s, scope) }) {
			t.Errorf("%s: scopes %v, want %s", it.Kind, it.Scopes, scope)
		}
		if it.Expires.IsZero() != (it.Kind == kindPause) {
			t.Errorf("%s expires %v", it.Kind, it.Expires)
		}
	}
	table := f.must("list")
	for _, want := range []string{"KIND", "obo-answer", user.Username, "429 throttled", "in 59 min", "5 records",
		"values by key: 2026a "} {
		if !strings.Contains(table, want) {
			t.Errorf("the table has no %q:\n%s", want, table)
		}
	}
	for args, want := range map[string]string{
		"--account " + user.HomeAccountID():              "obo-answer user",
		"--account ADA@contoso.com":                      "obo-answer user",
		"--scope " + graph:                               "app app-answer",
		"--tenant " + tenant:                             "app app-answer obo-answer pause user",
		"--tenant other":                                 "",
		"--client other":                                 "",
		"--client " + clientID + " --scope " + dataverse: "pause",
	} {
		if got := kinds(f.listed(strings.Fields(args)...)); got != want {
			t.Errorf("list %s: %q, want %q", args, got, want)
		}
	}
	for _, it := range items {
		shown := f.must("show", string(it.ID))
		if !strings.Contains(shown, it.Kind) || !strings.Contains(shown, clientID) || !strings.Contains(shown, "2026a") {
			t.Errorf("show:\n%s", shown)
		}
	}
	if shown := f.must("show", user.HomeAccountID()); !strings.Contains(shown, "RefreshToken") ||
		!strings.Contains(shown, user.Username) {
		t.Errorf("show of an account:\n%s", shown)
	}
	if r := f.run("show", "-BBBBBBBBBBBBBBBBBBBBBBB", "--json"); r.code != exitFinding || r.out != "[]\n" {
		// an id, not flags
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.report)
	}
	if shown := f.must("show", "--json", string(items[0].ID)[:6]); !strings.Contains(shown, string(items[0].ID)) ||
		!strings.Contains(shown, `"asked"`) {
		t.Errorf("show of a beginning:\n%s", shown)
	}
	if r := f.run("show", "nobody.here"); r.code != exitFinding {
		t.Errorf("show of nothing: exit code %d", r.code)
	}
}

// Without keys names stay sealed, and what needs none is shown.
func TestListWithoutKeys(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.fill()
	r := f.runWith(withoutKeys, "list")
	if r.code != exitDone || !strings.Contains(r.out, "5 records") ||
		!strings.Contains(r.out, "TOKEN_CACHE_KEYS is not set") || !strings.Contains(r.out, "2026a") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.report)
	}
	for _, name := range []string{clientID, tenant, "graph", user.Username} {
		if strings.Contains(r.out, name) {
			t.Errorf("%q is shown without a key", name)
		}
	}
	if r := f.runWith(withoutKeys, "list", "--tenant", tenant); r.code != exitUsage ||
		!strings.Contains(r.report, "TOKEN_CACHE_KEYS") {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

// Values that were tampered with, moved, or sealed with another key are told apart, and the rest is listed.
func TestListTellsWhatIsUnreadable(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.instance().appToken(graph)
	f.keys = newKey(t, "2026b") // not the one that sealed
	it := f.listed()[0]
	if it.Unreadable == 0 || !strings.Contains(it.Problem, "not in TOKEN_CACHE_KEYS") {
		t.Errorf("%+v", it)
	}
	if table := f.must("list"); !strings.Contains(table, "do not open") {
		t.Error(table)
	}
	f.redis.Do("SET", f.prefix+":v1:{AAAAAAAAAAAAAAAAAAAAAAAA}:tokens", "\x1b[31mx")
	if shown := f.must("show", "AAAAAAAAAAAAAAAAAAAAAAAA"); !strings.Contains(shown, "WRONGTYPE") ||
		strings.Contains(shown, "\x1b") {
		t.Errorf("%q", shown)
	}
	f.redis.Do("SET", f.prefix+":v1:{BBBBBBBBBBBBBBBBBBBBBBBB}:response", "\x1b[31mx")
	if shown := f.must("show", "BBBB"); !strings.Contains(shown, "not a value of the cache") ||
		strings.Contains(shown, "\x1b") {
		t.Errorf("%q", shown)
	}
}

// SCAN is the one permission beyond the library's; who lacks it learns that.
func TestListNamesThePermissionItNeeds(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.instance().appToken(graph)
	f.redis.AddUser("oncall", "a-pass-word", rule(t, "acl", f.prefix))
	f.url = f.as("oncall", "a-pass-word")
	for _, args := range []string{"list", "reseal", "purge --tenant " + tenant} {
		if r := f.run(strings.Fields(args)...); r.code != exitFailed || !strings.Contains(r.report, "+scan") ||
			strings.Contains(r.report, "a-pass-word") {
			t.Errorf("%s: exit code %d: %s", args, r.code, r.report)
		}
	}
	f.redis.Do("ACL", "SETUSER", "oncall", "+scan")
	if got := kinds(f.listed()); got != "app app-answer" {
		t.Errorf("kinds %q", got)
	}
	f.must("reseal")
	f.must("purge", "--tenant", tenant, "--yes")
}

// An empty list says where it looked: most of them are of another prefix.
func TestListOfNothingNamesThePrefix(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const advice = "; --prefix takes another, the service's Options.Prefix\n"
	if got, want := f.must("list"), "nothing is there with the prefix "+f.prefix+advice; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	f.instance().appToken(graph)
	if got, want := f.must("list", "--tenant", "other"), "nothing matches with the prefix "+f.prefix+advice; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := f.must("list", "--tenant", "other", "--json"); got != "[]\n" {
		t.Errorf("%q", got)
	}
	if got := f.must("list"); strings.Contains(got, "--prefix") {
		t.Errorf("what is no empty list: %s", got)
	}
}
