package clocks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

const clockEnv = "MSALREDIS_TEST_CLOCK"

// shiftedWorker builds this test binary with another time.Now: MSAL reads the wall clock and takes no other, so a
// process whose clock is wrong is one that was built with a time package whose clock is. The build takes a minute the
// first time and is cached by the go command.
func shiftedWorker(t *testing.T) string {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("the go command is needed to build a worker: %v", err)
	}
	source := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for _, edit := range []struct{ old, new string }{
		{"import (\n", "import (\n\t\"syscall\"\n"},
		{"\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n",
			"\tsec, nsec, mono := runtimeNow()\n\tsec += clockOffset\n\tif mono == 0 {\n"},
	} {
		if strings.Count(changed, edit.old) != 1 {
			t.Fatalf("%s of %s is not as expected: %q", source, runtime.Version(), edit.old)
		}
		changed = strings.Replace(changed, edit.old, edit.new, 1)
	}
	changed += "\nvar clockOffset = func() int64 {\n\ttext, _ := syscall.Getenv(\"" + clockEnv + "\")\n" +
		"\tn, _ := atoi(text)\n\treturn int64(n)\n}()\n"

	dir := t.TempDir()
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	binary := filepath.Join(dir, "worker")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{replacement: []byte(changed), overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building a worker with another clock: %v\n%s", err, out)
	}
	return binary
}

// Clocks of two instances are ten minutes apart, and neither is off for the fleet: the times of what they share are
// Redis's, and each reads them by its own clock. So no token is requested but the first one of each, and one when
// it has really run out. There is no request that the slower clock's expiry rule would make necessary: its offset
// is known before it judges anything that it has not asked for itself.
//
// Tokens live 14 minutes and fall due after 4.5. Read untranslated, one stored by the other would be spent for a
// clock that is ten minutes ahead, due at the least, and "cached in the future" for one that is behind, at
// every single call.
func TestLongClocksTenMinutesApartNoNeedlessRequest(t *testing.T) {
	long.Test(t)
	binary := shiftedWorker(t)
	for _, minutes := range []int{10, -10} {
		t.Run(fmt.Sprintf("%+d minutes", minutes), func(t *testing.T) {
			t.Parallel()
			clocksApart(t, binary, minutes)
		})
	}
}

func clocksApart(t *testing.T, binary string, minutes int) {
	w := harness.NewWorld(t)
	w.Rotating()
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 14 * time.Minute })
	users := w.AddUsers(2)
	right := w.Processes(1)[0]
	cfg := harness.WorkerConfig{Redis: w.Redis.Address, Prefix: w.Prefix, Keys: w.Keys, Entra: w.Entra.Host(),
		CA: string(w.Entra.CAPEM())}
	wrong := harness.StartProcess(t, binary, cfg, fmt.Sprint(clockEnv, "=", minutes*60))
	wrong.Hello()
	both := []*harness.Process{right, wrong}
	clean := func(outs ...harness.Outcome) {
		t.Helper()
		for _, o := range outs {
			for _, e := range o.Errors {
				t.Error(e)
			}
		}
	}

	// The clocks are apart, or this test shows nothing.
	app := harness.Order{Op: "app", Scopes: []string{harness.GraphScope}}
	one, two := right.Do(app), wrong.Do(app)
	if apart := two.Now - one.Now - int64(minutes*60); apart < -30 || apart > 30 {
		t.Fatalf("the clocks are %d s apart, want %d", two.Now-one.Now, minutes*60)
	}
	harness.SameToken(t, []harness.Outcome{one, two})
	w.Count(t, 1, "an app's token stored by the right clock")
	other := harness.Order{Op: "app", Scopes: []string{harness.DynamicsScope}}
	harness.SameToken(t, []harness.Outcome{wrong.Do(other), right.Do(other)})
	w.Count(t, 2, "an app's token stored by the wrong clock")

	i := w.Instance()
	i.SignIn(i.App(), users[0])
	user := harness.Order{Op: "silent", Account: users[0].HomeAccountID(), Scopes: []string{harness.UserScope}}
	harness.SameToken(t, []harness.Outcome{right.Do(user), wrong.Do(user)})
	w.Count(t, 0, "a user's token stored by the right clock", entratest.ByGrant(harness.RefreshGrant))
	mail := harness.Order{Op: "silent", Account: users[0].HomeAccountID(), Scopes: []string{harness.MailScope}}
	harness.SameToken(t, []harness.Outcome{wrong.Do(mail), right.Do(mail)})
	w.Count(t, 1, "a user's token stored by the wrong clock", entratest.ByGrant(harness.RefreshGrant))
	obo := harness.Order{Op: "obo", Assertion: w.Assertion(t, users[1]), Scopes: []string{harness.UserScope}}
	harness.SameToken(t, []harness.Outcome{wrong.Do(obo), right.Do(obo)})
	w.Count(t, 1, "an on-behalf-of token", entratest.ByGrant(harness.OboGrant))

	sent := w.Entra.Count()
	for _, o := range []harness.Order{app, other, user, mail, obo} {
		var outs []harness.Outcome
		for range 20 {
			outs = append(outs, right.Do(o), wrong.Do(o))
		}
		harness.SameToken(t, outs)
	}
	w.Count(t, sent, "20 times in turn")

	// A token that has really run out is one request, whoever finds out.
	const usable = 3 * time.Second
	for n, order := range []harness.Order{
		{Op: "app", Scopes: []string{"https://vault.azure.net/.default"}},
		{Op: "silent", Account: users[0].HomeAccountID(), Scopes: []string{harness.FilesScope}},
	} {
		w.Lasting(usable)
		clean(both[n%2].Do(order), both[1-n%2].Do(order))
		w.Expire(usable)
		w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 14 * time.Minute })
		order.N = 8
		harness.SameToken(t, harness.DoAll(both, order))
		harness.SameToken(t, harness.DoAll(both, order))
		w.Count(t, 1, "a token that has run out: "+order.Op)
	}
	w.NoRefusals(t)

	// A sign-out by the wrong clock holds, and so does a sign-in after it.
	clean(wrong.Do(harness.Order{Op: "signout", Account: users[0].HomeAccountID()}))
	harness.Eventually(t, "the sign-out reaches the other instance", func() bool { return len(right.Do(user).Errors) > 0 })
	for range 5 {
		for _, p := range both {
			if len(p.Do(user).Errors) == 0 || len(p.Do(mail).Errors) == 0 {
				t.Error("a user who has signed out got a token")
			}
		}
	}
	i = w.Instance()
	i.SignIn(i.App(), users[0])
	for _, p := range both {
		harness.Eventually(t, "the new sign-in on every instance", func() bool { return len(p.Do(user).Errors) == 0 })
	}
	harness.SameToken(t, []harness.Outcome{right.Do(user), wrong.Do(user)})
}
