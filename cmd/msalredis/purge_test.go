package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// A signed-out user does not come back from the memory of an instance that runs, on-behalf-of answers included.
func TestPurgeSignsOutOfRunningInstances(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{
		"account": "--account " + user.HomeAccountID(), "user name": "--account " + user.Username,
		"tenant": "--tenant " + tenant, "client": "--client " + clientID,
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
	if r := f.runWith(withoutKeys, "purge", "--tenant", tenant, "--yes"); r.code != exitUsage ||
		!strings.Contains(r.report, "TOKEN_CACHE_KEYS") {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

func TestPurgeAsksFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.fill()
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name string
		in   io.Reader
		code int
		says string
	}{
		{"n", strings.NewReader("n\n"), exitFailed, "nothing was removed"},
		{"no", strings.NewReader("no\n"), exitFailed, "nothing was removed"},
		{"yess", strings.NewReader("yess\n"), exitFailed, "nothing was removed"},
		{"an empty line", strings.NewReader("\n"), exitFailed, "nothing was removed"},
		{"nobody", strings.NewReader(""), exitUsage,
			"\nmsalredis: nothing was removed: nobody answers: without a terminal add --yes"},
		{"no stdin", closed, exitUsage, "add --yes"},
	} {
		r := f.runWith(func(w *world) { w.in = c.in }, "purge", "--tenant", tenant)
		if r.code != c.code || !strings.Contains(r.report, "2 removals. Go on?") || !strings.Contains(r.report, c.says) {
			t.Errorf("%s: exit code %d: %s", c.name, r.code, r.report)
		}
		if got := kinds(f.listed()); got != "app app-answer obo-answer pause user" {
			t.Fatalf("%s: left %s", c.name, got)
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
	if r := f.run("purge", "--tenant", "another", "--yes"); r.code != exitFinding ||
		!strings.Contains(r.report, "nothing matches") {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

// A plan reads as one, and standard output has what is so: what was removed, or what a dry run would remove. Questions,
// the plan that they are about, and that nothing was removed are for the person.
func TestPurgeTellsAPlanFromWhatIsDone(t *testing.T) {
	t.Parallel()
	app := "the tokens of app " + clientID + " in tenant " + tenant + ": 2 records\n"
	who := user.HomeAccountID() + " (" + user.Username + ") on every client: 1 record\n"
	asks := "to be removed, if you confirm:\n  forget " + app + "  sign out " + who + "2 removals. Go on? [y/N] "
	const told, dry = "removed; the running instances were told\n", "nothing was removed: this was a dry run\n"
	for _, c := range []struct{ name, args, in, out, report, left string }{
		{"a dry run", "--dry-run", "", "would forget " + app + "would sign out " + who, dry, "app app-answer user"},
		{"a dry run, though --yes", "--dry-run --yes", "", "would forget " + app + "would sign out " + who, dry,
			"app app-answer user"},
		{"a dry run in JSON", "--dry-run --json", "", "[", dry, "app app-answer user"},
		{"no", "", "n\n", "", asks + "msalredis: nothing was removed\n", "app app-answer user"},
		{"yes", "", "y\n", "forgot " + app + "signed out " + who, asks + told, ""},
		{"--yes", "--yes", "", "forgot " + app + "signed out " + who, told, ""},
		{"--yes in JSON", "--yes --json", "", "[", told, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			i := f.instance()
			i.appToken(graph)
			i.signIn()
			r := f.runWith(func(w *world) { w.in = strings.NewReader(c.in) },
				append([]string{"purge", "--tenant", tenant}, strings.Fields(c.args)...)...)
			if asJSON := c.out == "["; r.report != c.report || !asJSON && r.out != c.out {
				t.Errorf("exit code %d; printed:\n%s\nreported:\n%s", r.code, r.out, r.report)
			} else if asJSON {
				var got []removal
				if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got) != 2 ||
					got[1].Account != user.HomeAccountID() {
					t.Errorf("%v: %s", err, r.out)
				}
			}
			if got := kinds(f.listed()); got != c.left {
				t.Errorf("left %q, want %q", got, c.left)
			}
		})
	}
}

// A purge that fails half-way has said what it removed, and nothing else.
func TestPurgeThatFailsHalfWay(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"", "--json"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			i := f.instance()
			i.appToken(graph)
			i.signIn()
			acl := "+@all &* %R~*"
			for _, it := range f.listed() {
				if it.Kind != kindUser {
					acl += " ~" + f.prefix + ":v1:{" + string(it.ID) + "}:*"
				}
			}
			f.redis.AddUser("oncall", "a-pass-word", acl)
			f.url = f.as("oncall", "a-pass-word")
			r := f.run(append([]string{"purge", "--tenant", tenant, "--yes"}, strings.Fields(args)...)...)
			if r.code != exitFailed || !strings.Contains(r.report, "1 of 2 done") || strings.Contains(r.report, "removed") ||
				!strings.Contains(r.out, clientID) || strings.Contains(r.out, user.HomeAccountID()) {
				t.Errorf("exit code %d; printed:\n%s\nreported:\n%s", r.code, r.out, r.report)
			}
			f.url = f.redis.URL()
			if got := kinds(f.listed()); got != kindUser {
				t.Errorf("left %q", got)
			}
		})
	}
}

// told is a report that is read as it is written.
type told struct {
	bytes.Buffer
	each func(line string)
}

func (w *told) Write(p []byte) (int, error) {
	w.each(string(p))
	return w.Buffer.Write(p)
}

// Long work says on standard error how far it has come, also where there is no terminal, and ctrl-C ends it with that.
func TestPurgeTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at       string // ctrl-C follows this line
		code     int
		says     string // at the end
		out, not string // printed
		left     string
	}{
		"to the end": {"", exitDone, "removed; the running instances were told\n", user.HomeAccountID(), "none", ""},
		"in the middle": {"removing: 1 of 2", exitInterrupted, "interrupted: 1 of 2 done, run it again for the rest\n",
			clientID, user.HomeAccountID(), kindUser},
		"while it looked": {"reading: 1 of 3", exitInterrupted, "interrupted: nothing was removed\n", "",
			clientID, "app app-answer user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			i := f.instance()
			i.appToken(graph)
			i.signIn()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			report := &told{each: func(line string) {
				if c.at != "" && strings.Contains(line, c.at) {
					cancel()
				}
			}}
			var out bytes.Buffer
			hour := time.Now()
			later := func() time.Time { hour = hour.Add(tellEvery); return hour }
			code := run(ctx, world{[]string{"purge", "--tenant", tenant, "--yes", "--prefix", f.prefix}, f.env, nil, &out,
				report, later})
			if code != c.code || !strings.HasSuffix(report.String(), c.says) || !strings.Contains(report.String(), c.at) ||
				!strings.Contains(report.String(), "reading: 1 of 3\n") ||
				code == exitDone && !strings.Contains(report.String(), "removing: 1 of 2\n") ||
				!strings.Contains(out.String(), c.out) || strings.Contains(out.String(), c.not) {
				t.Errorf("exit code %d; printed:\n%s\nreported:\n%s", code, out.String(), report.String())
			}
			if got := kinds(f.listed()); got != c.left {
				t.Errorf("left %q, want %q", got, c.left)
			}
		})
	}
}

// What a purge cannot read may be what it was to remove: it says how much that is, and does not end as if all were
// done.
func TestPurgeSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	const other = "22222222-bbbb-4bbb-8ccc-000000000002" // a tenant that has nothing
	damaged := func(f *fleet, what string) {
		rdb := f.redis.Client()
		for _, key := range rdb.Keys(t.Context(), f.prefix+":v1:{*}:"+what).Val() {
			if what != "tokens" {
				f.redis.Do("SET", key, rdb.Get(t.Context(), key).Val()+"x")
				continue
			}
			for field, value := range rdb.HGetAll(t.Context(), key).Val() {
				if field != layout.VersionField {
					f.redis.Do("HSET", key, field, value+"x")
					break
				}
			}
		}
	}
	for _, c := range []struct {
		name    string
		arrange func(*fleet)
		args    string
		code    int
		want    string // in the report
		left    string // kinds, to who has all keys
	}{
		{"another key", func(f *fleet) { f.instance().appToken(graph); f.keys = newKey(t, "2026b") },
			"--tenant " + tenant, exitFinding, "nothing matches of what can be read; 2 values in 2 records", "app app-answer"},
		{"another key, by client", func(f *fleet) { f.instance().appToken(graph); f.keys = newKey(t, "2026b") },
			"--client " + clientID, exitFinding, "add 2026a to TOKEN_CACHE_KEYS", "app app-answer"},
		{"another key, by user name", func(f *fleet) { f.instance().signIn(); f.keys = newKey(t, "2026b") },
			"--account " + user.Username, exitFinding, "in 1 record cannot be read", "user"},
		{"a rotation under way", func(f *fleet) {
			f.instance().appToken(graph)
			newer := newKey(t, "2026b")
			f.instanceWith(newer).appToken(dataverse)
			f.keys = newer
		}, "--tenant " + tenant, exitDone, "removed", ""}, // the unread answer belongs to what matches
		{"a rotation under way, and a client that has not come to it", func(f *fleet) {
			f.instance().signIn()
			newer := newKey(t, "2026b")
			f.instanceWith(newer).appToken(dataverse)
			f.keys = newer
		}, "--tenant " + tenant, exitFinding, "4 values in 1 record", "user"},
		{"damaged answers", func(f *fleet) { f.instance().appToken(graph); damaged(f, "response") },
			"--tenant " + tenant, exitDone, "removed", ""},
		{"a damaged entry in a record that goes whole", func(f *fleet) { f.fill(); damaged(f, "tokens") },
			"--tenant " + tenant, exitDone, "removed", "pause"},
		{"a damaged entry in another user's record", func(f *fleet) { f.instance().signIn(); damaged(f, "tokens") },
			"--tenant " + other, exitFinding, "may match", "user"},
		{"a damaged pause, which holds no token", func(f *fleet) { f.fill(); damaged(f, "pause") },
			"--tenant " + tenant, exitDone, "removed", "pause"},
		{"of another type", func(f *fleet) { f.redis.Do("SET", f.prefix+":v1:{AAAAAAAAAAAAAAAAAAAAAAAA}:tokens", "x") },
			"--tenant " + tenant, exitFinding, "1 value in 1 record", "partition"},
		{"a scope, and an entry that may be for it", func(f *fleet) {
			f.instance().appToken(graph)
			newer := newKey(t, "2026b")
			f.instanceWith(newer).appToken(dataverse)
			f.keys = newer
		}, "--client " + clientID + " --scope " + graph, exitFinding, "may match", "app app-answer app-answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			all := f.keys
			c.arrange(f)
			dry := f.run(append([]string{"purge", "--dry-run"}, strings.Fields(c.args)...)...)
			r := f.run(append([]string{"purge", "--yes"}, strings.Fields(c.args)...)...)
			if unread := strings.Contains(dry.report, "may match"); unread != (dry.code == exitFinding) ||
				c.code == exitFinding && !unread {
				t.Errorf("a dry run: exit code %d: %s", dry.code, dry.report)
			}
			if r.code != c.code || !strings.Contains(r.report, c.want) {
				t.Errorf("exit code %d, want %d with %q: %s", r.code, c.code, c.want, r.report)
			}
			if json := f.run(append([]string{"purge", "--yes", "--json"},
				strings.Fields(c.args)...)...); c.code == exitFinding && json.code != exitFinding && c.left != "" {
				t.Errorf("with --json: exit code %d: %s", json.code, json.report)
			}
			if f.keys != all {
				f.keys += "," + all
			}
			if got := kinds(f.listed()); got != c.left {
				t.Errorf("left %q, want %q", got, c.left)
			}
		})
	}
}

// Exact names are computed, with keys and without: the rule of docs/redis.md, which has no SCAN, is enough, values of
// keys that are not at hand go too, and what is under way is not kept, also where nothing is stored yet.
func TestPurgeOfExactNames(t *testing.T) {
	t.Parallel()
	upper := strings.ToUpper(user.HomeAccountID())
	app, nobody := "--client "+clientID+" --tenant "+tenant, "aaaaaaaa-0000-4000-8000-00000000000a."+tenant
	for _, c := range []struct {
		name, args string
		pid        layout.ID // that is to have a tombstone
		left       string
	}{
		{"app", app, layout.PartitionID(clientID + "_" + tenant + "_AppTokenCache"), "user"},
		{"app in capitals", strings.ToUpper(clientID + " " + tenant),
			layout.PartitionID(clientID + "_" + tenant + "_AppTokenCache"), "user"},
		{"account", "--account " + user.HomeAccountID(), layout.PartitionID(user.HomeAccountID()), "app app-answer"},
		{"account in capitals", "--account " + upper, layout.PartitionID(user.HomeAccountID()), "app app-answer"},
		{"account of B2C", "--account aaaaaaaa-0000-4000-8000-00000000000a-b2c_1_sign-in." + tenant,
			layout.PartitionID("aaaaaaaa-0000-4000-8000-00000000000a-b2c_1_sign-in." + tenant), "app app-answer user"},
		{"account of nobody", "--account " + nobody, layout.PartitionID(nobody), "app app-answer user"},
	} {
		if client, tenant, ok := strings.Cut(c.args, " "); ok && !strings.HasPrefix(c.args, "--") {
			c.args = "--client " + client + " --tenant " + tenant
		}
		for keys, change := range map[string]func(*fleet, *world){
			"no keys":     func(_ *fleet, w *world) { withoutKeys(w) },
			"its keys":    func(*fleet, *world) {},
			"other keys":  func(f *fleet, _ *world) { f.keys = newKey(t, "2026b") },
			"others too":  func(f *fleet, _ *world) { f.keys = newKey(t, "2026b") + "," + f.keys },
			"of the same": func(f *fleet, _ *world) { f.keys = newKey(t, "2026a") },
		} {
			t.Run(c.name+", "+keys, func(t *testing.T) {
				t.Parallel()
				f := newFleet(t)
				all := f.keys
				f.redis.AddUser("oncall", "a-pass-word", rule(t, "acl", f.prefix))
				f.url = f.as("oncall", "a-pass-word")
				purge := func() {
					t.Helper()
					r := f.runWith(func(w *world) { change(f, w) }, append([]string{"purge", "--yes"}, strings.Fields(c.args)...)...)
					if r.code != exitDone || !strings.Contains(r.report, "removed") {
						t.Errorf("exit code %d: %s", r.code, r.report)
					}
					f.keys = all
					if f.redis.Client().Exists(t.Context(), layout.Names{Prefix: f.prefix}.Tombstone(c.pid)).Val() != 1 {
						t.Error("there is no tombstone")
					}
				}
				purge() // nothing is stored
				i := f.instance()
				i.appToken(graph)
				i.signIn()
				purge()
				f.url = f.redis.URL()
				if got := kinds(f.listed()); got != c.left {
					t.Errorf("left %q, want %q", got, c.left)
				}
				for _, e := range f.redis.Client().ACLLog(t.Context(), 100).Val() {
					if e.Object == "cluster|slots" {
						continue // connect asks it of one address, and a single server may refuse it
					}
					t.Errorf("%q was refused (%s)", e.Object, e.Reason)
				}
			})
		}
	}
}

// What is no home account id is looked for: it is a user name, or nobody's.
func TestPurgeOfWhatIsNoHomeAccountID(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.instance().signIn()
	id := user.HomeAccountID()
	for _, account := range []string{"nobody.nowhere", "ada.contoso", "x." + tenant, id[:len(id)-1], id + "0", id + ".",
		"." + id, "a" + id, strings.Replace(id, ".", "..", 1), strings.Replace(id, ".", "-.", 1),
		strings.Replace(id, ".", "-a b.", 1), strings.ReplaceAll(id, "-", ""), "{" + id + "}", id + "\n", "ada@contoso.com.",
		"a.b@c", "ſ." + id} {
		r := f.run("purge", "--yes", "--account", account)
		if r.code != exitFinding || !strings.Contains(r.report, "nothing matches") {
			t.Errorf("%q: exit code %d: %s", account, r.code, r.report)
		}
		if r := f.runWith(withoutKeys, "purge", "--yes", "--account", account); r.code != exitUsage {
			t.Errorf("%q without keys: exit code %d: %s", account, r.code, r.report)
		}
	}
	if n := len(f.redis.Client().Keys(t.Context(), f.prefix+":*:tombstone").Val()); n > 0 {
		t.Errorf("%d tombstones for nobody", n)
	}
	for _, args := range []string{"--client redis://h", "--tenant https://login.microsoftonline.com/" + tenant,
		"--client a@b", "--tenant a\u202eb"} {
		if r := f.run(append([]string{"purge", "--yes"}, strings.Fields(args)...)...); r.code != exitUsage {
			t.Errorf("%s: exit code %d: %s", args, r.code, r.report)
		}
	}
	f.must("purge", "--yes", "--account", "ADA@Contoso.com")
	if got := kinds(f.listed()); got != "" {
		t.Errorf("left %s", got)
	}
}
