package msalredis_test

import (
	"context"
	"os"
	"path/filepath"
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
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			sources.WriteString(readFile(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := rows(readFile(t, "SECURITY.md"), "Threats")
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

// The list of dependencies is that of go.mod.
func TestDependenciesAreListed(t *testing.T) {
	listed := map[string]bool{}
	for _, cells := range rows(readFile(t, "SECURITY.md"), "Dependencies") {
		if len(cells) != 3 || cells[1] == "" || cells[2] == "" {
			t.Errorf("%s: where it is used, or why, is missing", cells[0])
		}
		listed[strings.Trim(cells[0], "`")] = true
	}
	required := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(readFile(t, "go.mod"), -1) // without "// indirect"
	if len(required) == 0 {
		t.Fatal("go.mod requires nothing, and this test shows nothing")
	}
	for _, m := range required {
		if !listed[m[1]] {
			t.Errorf("SECURITY.md does not say why there is %s", m[1])
		}
		delete(listed, m[1])
	}
	for module := range listed {
		t.Errorf("SECURITY.md lists %s, which go.mod does not require", module)
	}
}

// Who writes to Redis can put an older value of a place back where it was: it opens, and the token in it is served. What is
// sealed cannot be changed, so not for longer than it lives.
func TestOlderValueOfItsPlaceOpens(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	i := w.instance()
	app := i.app()
	old := must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	r := one(t, w.records(), section(msaldoc.SectionAccessToken))
	answer := ""
	for _, key := range w.keysOf() {
		if strings.HasSuffix(key, ":response") {
			answer = key
		}
	}
	value, err := w.redis.admin.Get(ctx, answer).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.tokens.ForgetAppTokens(ctx, clientID, tenant); err != nil {
		t.Fatal(err)
	}
	if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) == old {
		t.Fatal("the token was not forgotten")
	}
	put := func(version, entry, answered string) {
		t.Helper()
		w.put(r.key, "v", version)
		w.put(r.key, r.field, entry)
		if err := w.redis.admin.Set(ctx, answer, answered, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	put("9000000000000000", r.value, value)
	if must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) != old {
		t.Error("the older value does not open: SECURITY.md says it does")
	}
	put("9000000000000001", r.value[:16]+"9"+r.value[17:], value[:16]+"9"+value[17:])
	if must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) == old {
		t.Error("a value whose life was prolonged opens")
	}
}

// Code that shares Redis, prefix and sealing keys, and does not know a client's secret, gets nothing from the gate: the secret is part
// of what an answer is kept under. MSAL's own cache does not ask for it: there, sharing the keys is sharing the tokens.
func TestAnotherSecretGetsNoAnswer(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	token := must(t)(w.instance().gateApp().AcquireTokenByCredential(ctx, []string{graph}))
	if must(t)(w.instance().gateApp().AcquireTokenByCredential(ctx, []string{graph})) != token {
		t.Fatal("the answer is not shared, and this test shows nothing")
	}
	cred, err := confidential.NewCredFromSecret("a guess at the client's secret")
	if err != nil {
		t.Fatal(err)
	}
	guess, err := confidential.New(w.entra.Authority(tenant), clientID, cred, confidential.WithHTTPClient(w.instance().http))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guess.AcquireTokenByCredential(ctx, []string{graph}); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("with another secret: %v", err)
	}
}

// A Redis user whose rule has one prefix reads and writes nothing under another.
func TestUserOfOnePrefixHasNoOther(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	w := worldOn(t, alone(t, server, address{}))
	must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph}))
	const password = "the password of one tenant"
	server.AddUser("one", password, "~one:* &one:* +@all")
	o := server.Options()
	o.Username, o.Password = "one", password
	for prefix, refused := range map[string]bool{"one": false, w.prefix: true} {
		rdb := redis.NewClient(o)
		opts := options(prefix)
		opts.FailClosed = true
		i := w.instanceOn(rdb, w.sealer(w.keys), opts)
		_, err := i.app().AcquireTokenByCredential(ctx, []string{graph})
		if refused != (err != nil && strings.Contains(err.Error(), "NOPERM")) {
			t.Errorf("prefix %s: %v", prefix, err)
		}
		canary.sawError(err)
		i.close()
		rdb.Close()
	}
}

// A value of one prefix is a miss under another, also with the same keys: the place that is bound to it begins with the prefix.
func TestValueOfAnotherPrefixDoesNotOpen(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	token := must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph}))
	there := append(w.keysLike(":tokens"), w.keysLike(":response")...)
	// to copies what is there as it is, the names of its places but for the prefix included.
	to := func(prefix string) {
		for _, key := range there {
			dump, err := w.redis.admin.Dump(ctx, key).Result()
			if err == nil {
				err = w.redis.admin.RestoreReplace(ctx, prefix+strings.TrimPrefix(key, w.prefix), time.Minute, dump).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	other := w.prefix + ":other"
	to(w.prefix)
	if len(there) < 2 || must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) != token {
		t.Fatal("a copy in its own place is not served, and this test shows nothing")
	}
	to(other)
	i := w.instance(func(o *msalredis.Options) { o.Prefix = other })
	if must(t)(i.app().AcquireTokenByCredential(ctx, []string{graph})) == token {
		t.Error("a value of another prefix opens")
	}
	w.count(t, 2, "one for each prefix")
}

// With sealing on, what was written without is not read, and what is written shows nothing: no token, user, tenant, client or
// scope.
func TestNothingInRedisIsReadable(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	plain := w.instanceOn(w.client(), serializer.Plaintext(), options(w.prefix))
	token := must(t)(plain.app().AcquireTokenByCredential(ctx, []string{graph}))
	if must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) == token {
		t.Error("a token that was stored in plain text is served")
	}
	for _, key := range w.keysOf() {
		if err := w.redis.admin.Del(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	i := w.instance(func(o *msalredis.Options) { o.Prefix = w.prefix })
	app := i.app()
	i.signIn(app, u)
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	must(t)(app.AcquireTokenOnBehalfOf(ctx, w.assertion(t, u), []string{mailScope}))
	rdb := w.redis.admin
	text := ""
	for _, key := range w.keysOf() {
		text += key + "\n" // and what stands there, whatever its type is
		text += rdb.Get(ctx, key).Val() + strings.Join(rdb.HKeys(ctx, key).Val(), "\n") + strings.Join(rdb.HVals(ctx, key).Val(), "\n") +
			strings.Join(rdb.ZRange(ctx, key, 0, -1).Val(), "\n")
	}
	if len(text) < 1000 {
		t.Fatal("Redis is empty, and this test shows nothing")
	}
	for _, secret := range append(w.entra.Secrets(), u.ObjectID, u.Username, tenant, clientID, "graph.microsoft.com", "User.Read") {
		if strings.Contains(text, secret) {
			t.Errorf("Redis shows something of %d bytes", len(secret))
		}
	}
}

// plant writes what nobody of ours wrote where something of ours would stand.
func (w *world) plant(key, value string) {
	w.t.Helper()
	if err := w.redis.admin.Set(context.Background(), key, value, time.Hour).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) drop(keys ...string) {
	w.t.Helper()
	for _, key := range keys { // one by one: in a cluster they are in several slots
		if err := w.redis.admin.Del(context.Background(), key).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A tombstone that a writer of Redis leaves, of a time that has not come: what stands there serves, also to who knew it before,
// callers get what is new, though the gate keeps it for nobody else, and a sign-in is stored.
func TestPlantedTombstoneTakesNoToken(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	short := func(o *msalredis.Options) { o.LocalTTL = 50 * time.Millisecond }
	knew := w.instance(short)
	knewApp := knew.app()
	token := must(t)(knewApp.AcquireTokenByCredential(ctx, []string{graph}))
	userToken := knew.signIn(knewApp, u).AccessToken
	there := append(w.keysLike(":tokens"), w.keysLike(":response")...)
	if len(there) < 3 {
		t.Fatalf("%d keys: this test shows nothing", len(there))
	}
	for _, key := range there {
		w.plant(key[:strings.LastIndexByte(key, ':')]+":tombstone", "9000000000000000 somebody.1")
	}
	waitUntil(time.Now().Add(100 * time.Millisecond))
	w.entra.ResetRequests()
	for what, app := range map[string]confidential.Client{"who knew it": knewApp, "the same instance": knew.app(), "a new one": w.instance().app()} {
		if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != token || must(t)(silent(ctx, app, u.HomeAccountID())) != userToken {
			t.Errorf("%s does not get the tokens that are there", what)
		}
	}
	w.count(t, 0, "what is there")
	a := w.instance(short)
	must(t)(silent(ctx, a.app(), u.HomeAccountID(), mailScope))
	w.count(t, 1, "a user's new token")
	w.drop(w.keysLike(":response")...)
	for range 2 {
		must(t)(w.instance().gateApp().AcquireTokenByCredential(ctx, []string{graph}))
	}
	w.count(t, 3, "an answer that the gate may not keep, for two")
	signedIn := a.signIn(a.app(), u).AccessToken
	if must(t)(silent(ctx, w.instance().app(), u.HomeAccountID())) != signedIn {
		t.Error("a sign-in is not stored")
	}
	w.drop(w.keysLike(":tokens")...)
	if _, err := silent(ctx, knewApp, u.HomeAccountID()); err == nil {
		t.Error("a record that was deleted beside its tombstone comes back: SECURITY.md says it does not")
	}
}

// A lease that a writer of Redis holds for longer than anybody of ours would: a caller returns when its context ends, and the token that
// is there serves, be it due or in its last five minutes. Entra ID is not asked.
func TestForeignLeaseLeavesTokensAndContexts(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	app := w.instance().app()
	foreign := func() {
		t.Helper()
		fences := w.keysLike(":fence")
		if len(fences) == 0 {
			t.Fatal("nobody has held a lease, and this test shows nothing")
		}
		for _, key := range fences {
			w.plant(strings.TrimSuffix(key, "fence")+"lock", "somebody")
		}
	}
	for what, life := range map[string]func(*entratest.Behavior){
		"due":                      func(b *entratest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, time.Second },
		"in its last five minutes": func(b *entratest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = 4*time.Minute, 0 },
	} {
		w.entra.SetBehavior(life)
		scope := map[bool]string{true: graph, false: dynamics}[what == "due"]
		old := must(t)(app.AcquireTokenByCredential(ctx, []string{scope}))
		waitUntil(time.Now().Add(1500 * time.Millisecond))
		foreign()
		w.entra.ResetRequests()
		for range 2 {
			if must(t)(app.AcquireTokenByCredential(ctx, []string{scope})) != old {
				t.Errorf("another token than that which is %s", what)
			}
		}
		w.count(t, 0, "a token that is "+what)
	}
	w.drop(append(w.keysLike(":tokens"), w.keysLike(":response")...)...)
	none := w.instance().app()
	ends, leave := context.WithTimeout(ctx, 300*time.Millisecond)
	defer leave()
	call := start(1, func(int) (confidential.AuthResult, error) {
		return none.AcquireTokenByCredential(ends, []string{graph})
	})
	returns(t, "a caller that needs a new token", call, context.DeadlineExceeded)
	w.count(t, 0, "beside the lease")
}
