package security_test

import (
	"context"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// rows are the lines of a section's table, cell by cell.
func rows(text, section string) (all [][]string) {
	_, text, _ = strings.Cut(text, "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	header := true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			header = true
		case header || strings.HasPrefix(line, "|---"):
			header = false
		default:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
		}
	}
	return all
}

// Every line of the threat model names tests, which exist.
func TestThreatModelIsTested(t *testing.T) {
	var sources strings.Builder
	err := fs.WalkDir(os.DirFS(harness.Root(t)), ".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			sources.WriteString(harness.ReadFile(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := rows(harness.ReadFile(t, "SECURITY.md"), "Threats")
	if len(lines) < 10 {
		t.Fatalf("%d lines: the threat model is not where this test looks", len(lines))
	}
	for _, cells := range lines {
		names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z0-9]+`).FindAllString(cells[len(cells)-1], -1)
		if len(names) == 0 {
			t.Errorf("no test is named for: %s", strings.Join(cells, " | "))
		}
		for _, name := range names {
			if !strings.Contains(sources.String(), "func "+name+"(") {
				t.Errorf("%s does not exist", name)
			}
		}
	}
}

// The list of dependencies is what the library and its command require.
func TestDependenciesAreListed(t *testing.T) {
	listed := map[string]bool{}
	for _, cells := range rows(harness.ReadFile(t, "SECURITY.md"), "Dependencies") {
		if len(cells) != 3 || cells[1] == "" || cells[2] == "" {
			t.Errorf("%s: where it is used, or why, is missing", cells[0])
		}
		listed[strings.Trim(cells[0], "`")] = true
	}
	required := map[string]bool{}
	for _, file := range []string{"go.mod", "cmd/msalredis/go.mod", "msalredisotel/go.mod"} {
		// without "// indirect"
		direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(harness.ReadFile(t, file), -1)
		if len(direct) == 0 {
			t.Fatalf("%s requires nothing, and this test shows nothing", file)
		}
		for _, m := range direct {
			required[m[1]] = true
		}
	}
	delete(required, "github.com/msal-redis/msal-redis-go") // the command's
	for module := range required {
		if !listed[module] {
			t.Errorf("SECURITY.md does not say why there is %s", module)
		}
		delete(listed, module)
	}
	for module := range listed {
		t.Errorf("SECURITY.md lists %s, which no go.mod requires", module)
	}
}

// Who writes to Redis can put an older value of a place back where it was: it opens, and the token in it is served.
// What is sealed cannot be changed, so not for longer than it lives.
func TestOlderValueOfItsPlaceOpens(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	i := w.Instance()
	app := i.App()
	old := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	r := harness.OneRecord(t, w.Records(), harness.InSection(msaldoc.SectionAccessToken))
	answer := ""
	for _, key := range w.KeysOf() {
		if strings.HasSuffix(key, ":response") {
			answer = key
		}
	}
	value, err := w.Redis.Admin.Get(ctx, answer).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant); err != nil {
		t.Fatal(err)
	}
	if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == old {
		t.Fatal("the token was not forgotten")
	}
	put := func(version, entry, answered string) {
		t.Helper()
		w.Put(r.RedisKey, "v", version)
		w.Put(r.RedisKey, r.Field, entry)
		if err := w.Redis.Admin.Set(ctx, answer, answered, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	put("9000000000000000", r.Value, value)
	if harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == old {
		t.Error("what was forgotten serves beside its tombstone")
	}
	drop(w, w.KeysLike(":tombstone")...)
	put("9000000000000000", r.Value, value)
	if harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old {
		t.Error("the older value does not open: SECURITY.md says it does")
	}
	put("9000000000000001", r.Value[:16]+"9"+r.Value[17:], value[:16]+"9"+value[17:])
	if harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == old {
		t.Error("a value whose life was prolonged opens")
	}
}

// Code that shares Redis, prefix and sealing keys, and does not know a client's secret, gets nothing from the gate: the
// secret is part of what an answer is kept under. MSAL's own cache does not ask for it: there, sharing the keys is
// sharing the tokens.
func TestAnotherSecretGetsNoAnswer(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	token := harness.Must(t)(w.Instance().GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	if harness.Must(t)(w.Instance().GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != token {
		t.Fatal("the answer is not shared, and this test shows nothing")
	}
	cred, err := confidential.NewCredFromSecret("a guess at the client's secret")
	if err != nil {
		t.Fatal(err)
	}
	guess, err := confidential.New(w.Entra.Authority(harness.Tenant), harness.ClientID, cred,
		confidential.WithHTTPClient(w.Instance().HTTP))
	if err != nil {
		t.Fatal(err)
	}
	_, err = guess.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	if err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("with another secret: %v", err)
	}
}

// A Redis user whose rule has one prefix reads and writes nothing under another.
func TestUserOfOnePrefixHasNoOther(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	w := harness.WorldOn(t, harness.Alone(t, server, harness.Address{}))
	harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	const password = "the password of one tenant"
	server.AddUser("one", password, "~one:* &one:* +@all")
	o := server.Options()
	o.Username, o.Password = "one", password
	for prefix, refused := range map[string]bool{"one": false, w.Prefix: true} {
		rdb := redis.NewClient(o)
		opts := harness.Options(prefix)
		opts.FailClosed = true
		i := w.InstanceOn(rdb, w.Sealer(w.Keys), opts)
		_, err := i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		if refused != (err != nil && strings.Contains(err.Error(), "NOPERM")) {
			t.Errorf("prefix %s: %v", prefix, err)
		}
		harness.Canary.SawError(err)
		i.Close()
		rdb.Close()
	}
}

// A value of one prefix is a miss under another, also with the same keys: the place that is bound to it begins with the
// prefix.
func TestValueOfAnotherPrefixDoesNotOpen(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	token := harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	there := append(w.KeysLike(":tokens"), w.KeysLike(":response")...)
	// to copies what is there as it is, the names of its places but for the prefix included.
	to := func(prefix string) {
		for _, key := range there {
			dump, err := w.Redis.Admin.Dump(ctx, key).Result()
			if err == nil {
				err = w.Redis.Admin.RestoreReplace(ctx, prefix+strings.TrimPrefix(key, w.Prefix), time.Minute, dump).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	other := w.Prefix + ":other"
	to(w.Prefix)
	if len(there) < 2 ||
		harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != token {
		t.Fatal("a copy in its own place is not served, and this test shows nothing")
	}
	to(other)
	i := w.Instance(func(o *msalredis.Options) { o.Prefix = other })
	if harness.Must(t)(i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == token {
		t.Error("a value of another prefix opens")
	}
	w.Count(t, 2, "one for each prefix")
}

// With sealing on, what was written without is not read, and what is written shows nothing: no token, user, tenant,
// client or scope.
func TestNothingInRedisIsReadable(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	plain := w.InstanceOn(w.Client(), serializer.Plaintext(), harness.Options(w.Prefix))
	token := harness.Must(t)(plain.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	if harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == token {
		t.Error("a token that was stored in plain text is served")
	}
	for _, key := range w.KeysOf() {
		if err := w.Redis.Admin.Del(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	i := w.Instance(func(o *msalredis.Options) { o.Prefix = w.Prefix })
	app := i.App()
	i.SignIn(app, u)
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, w.Assertion(t, u), []string{harness.MailScope}))
	rdb := w.Redis.Admin
	text := ""
	for _, key := range w.KeysOf() {
		text += key + "\n" // and what stands there, whatever its type is
		text += rdb.Get(ctx, key).Val() +
			strings.Join(rdb.HKeys(ctx, key).Val(), "\n") + strings.Join(rdb.HVals(ctx, key).Val(), "\n") +
			strings.Join(rdb.ZRange(ctx, key, 0, -1).Val(), "\n")
	}
	if len(text) < 1000 {
		t.Fatal("Redis is empty, and this test shows nothing")
	}
	for _, secret := range append(w.Entra.Secrets(), u.ObjectID, u.Username, harness.Tenant, harness.ClientID,
		"graph.microsoft.com", "User.Read") {
		if strings.Contains(text, secret) {
			t.Errorf("Redis shows something of %d bytes", len(secret))
		}
	}
}

// plant writes what nobody of ours wrote where something of ours would stand.
func plant(w *harness.World, key, value string) {
	w.T.Helper()
	if err := w.Redis.Admin.Set(context.Background(), key, value, time.Hour).Err(); err != nil {
		w.T.Fatal(err)
	}
}

func drop(w *harness.World, keys ...string) {
	w.T.Helper()
	for _, key := range keys { // one by one: in a cluster they are in several slots
		if err := w.Redis.Admin.Del(context.Background(), key).Err(); err != nil {
			w.T.Fatal(err)
		}
	}
}

// A tombstone that a writer of Redis leaves, of a time that has not come: what stands there serves, also to who knew it
// before, callers get what is new, though the gate keeps it for nobody else, and a sign-in is stored.
func TestPlantedTombstoneTakesNoToken(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	short := func(o *msalredis.Options) { o.LocalTTL = 50 * time.Millisecond }
	knew := w.Instance(short)
	knewApp := knew.App()
	token := harness.Must(t)(knewApp.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	userToken := knew.SignIn(knewApp, u).AccessToken
	there := append(w.KeysLike(":tokens"), w.KeysLike(":response")...)
	if len(there) < 3 {
		t.Fatalf("%d keys: this test shows nothing", len(there))
	}
	for _, key := range there {
		plant(w, key[:strings.LastIndexByte(key, ':')]+":tombstone", "9000000000000000 somebody.1")
	}
	harness.WaitUntil(time.Now().Add(100 * time.Millisecond))
	w.Entra.ResetRequests()
	for what, app := range map[string]confidential.Client{
		"who knew it": knewApp, "the same instance": knew.App(), "a new one": w.Instance().App(),
	} {
		if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != token ||
			harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) != userToken {
			t.Errorf("%s does not get the tokens that are there", what)
		}
	}
	w.Count(t, 0, "what is there")
	a := w.Instance(short)
	harness.Must(t)(harness.Silent(ctx, a.App(), u.HomeAccountID(), harness.MailScope))
	w.Count(t, 1, "a user's new token")
	drop(w, w.KeysLike(":response")...)
	for range 2 {
		harness.Must(t)(w.Instance().GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	w.Count(t, 3, "an answer that the gate may not keep, for two")
	signedIn := a.SignIn(a.App(), u).AccessToken
	if harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())) != signedIn {
		t.Error("a sign-in is not stored")
	}
	drop(w, w.KeysLike(":tokens")...)
	harness.WaitUntil(time.Now().Add(100 * time.Millisecond)) // until who knew it looks again
	if _, err := harness.Silent(ctx, knewApp, u.HomeAccountID()); err == nil {
		t.Error("a record that was deleted beside its tombstone comes back: SECURITY.md says it does not")
	}
}

// A lease that a writer of Redis holds for longer than anybody of ours would: a caller returns when its context ends,
// and the token that is there serves, be it due or in its last five minutes. Entra ID is not asked.
func TestForeignLeaseLeavesTokensAndContexts(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	app := w.Instance().App()
	foreign := func() {
		t.Helper()
		answers := w.KeysLike(":response")
		if len(answers) == 0 {
			t.Fatal("nobody has brought an answer, and this test shows nothing")
		}
		for _, key := range answers {
			plant(w, strings.TrimSuffix(key, "response")+"lock", "somebody")
		}
	}
	for what, life := range map[string]func(*entratest.Behavior){
		"due": func(b *entratest.Behavior) {
			b.AccessTokenLifetime, b.RefreshIn = time.Hour, time.Second
		},
		"in its last five minutes": func(b *entratest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = 4*time.Minute, 0 },
	} {
		w.Entra.SetBehavior(life)
		scope := map[bool]string{true: harness.GraphScope, false: harness.DynamicsScope}[what == "due"]
		old := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{scope}))
		harness.WaitUntil(time.Now().Add(1500 * time.Millisecond))
		foreign()
		w.Entra.ResetRequests()
		for range 2 {
			if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{scope})) != old {
				t.Errorf("another token than that which is %s", what)
			}
		}
		w.Count(t, 0, "a token that is "+what)
	}
	drop(w, append(w.KeysLike(":tokens"), w.KeysLike(":response")...)...)
	none := w.Instance().App()
	ends, leave := context.WithTimeout(ctx, 300*time.Millisecond)
	defer leave()
	call := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
		return none.AcquireTokenByCredential(ends, []string{harness.GraphScope})
	})
	harness.Returns(t, "a caller that needs a new token", call, context.DeadlineExceeded)
	// For the token in its last five minutes its leader asks by now, or soon: a holder that brings nothing for five
	// seconds is not waited for any longer.
	w.Count(t, 0, "beside the lease", func(r entratest.Request) bool { return r.Scope == harness.GraphScope })
}
