package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const (
	clientID  = "11111111-aaaa-4bbb-8ccc-000000000001"
	secret    = "the-client's-secret-that-is-nowhere-else"
	tenant    = entratest.DefaultTenant
	graph     = "https://graph.microsoft.com/.default"
	dataverse = "https://org.crm.dynamics.com/.default"
	userScope = "https://graph.microsoft.com/User.Read"
)

var user = entratest.User{ObjectID: "00000001-0000-4000-8000-00000000000a", TenantID: tenant,
	Username: "ada@contoso.com", Name: "Ada"}

// asCommand makes a process of the tests one of the command.
const asCommand = "MSALREDIS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	logging.Disable()
	goleak.VerifyTestMain(m)
}

// fleet is a Redis with what real MSAL clients store in it, and an Entra ID.
type fleet struct {
	t      *testing.T
	redis  *redistest.Server
	url    string
	entra  *entratest.Server
	prefix string
	keys   string
	client func() redis.UniversalClient // an instance's

	mu      sync.Mutex
	printed bytes.Buffer // by every run, but for keygen's
}

func newFleet(t *testing.T, opts ...redistest.Option) *fleet {
	t.Helper()
	f := &fleet{t: t, redis: redistest.Start(t, opts...), prefix: redistest.Prefix(t), keys: newKey(t, "2026a")}
	f.url = f.redis.URL()
	f.client = func() redis.UniversalClient { return f.redis.Client() }
	var err error
	if f.entra, err = entratest.NewServer(nil); err != nil {
		t.Fatal(err)
	}
	f.entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	f.entra.AddUser(user)
	t.Cleanup(func() {
		f.noSecrets()
		f.entra.Close()
	})
	return f
}

func newKey(t *testing.T, id string) string {
	t.Helper()
	k, err := serializer.GenerateKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return k.Export()
}

// noSecrets is the canary: nothing that was printed holds a token, a secret, a sealing key or a record.
func (f *fleet) noSecrets() {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := f.printed.String()
	forbidden := map[string]string{}
	for _, s := range f.entra.Secrets() {
		forbidden[s] = "a secret or token"
	}
	for _, key := range strings.Split(f.keys, ",") {
		_, k, _ := strings.Cut(key, ":")
		forbidden[k] = "a sealing key"
	}
	rdb, ctx := f.redis.Client(), context.Background()
	for _, key := range rdb.Keys(ctx, f.prefix+":*").Val() {
		values := rdb.HVals(ctx, key).Val()
		if strings.HasSuffix(key, ":response") || strings.HasSuffix(key, ":pause") {
			values = []string{rdb.Get(ctx, key).Val()}
		}
		for _, v := range values {
			if len(v) > layout.HeaderSize {
				forbidden[v[layout.HeaderSize:]] = "a record"
				forbidden[base64.StdEncoding.EncodeToString([]byte(v[layout.HeaderSize:]))] = "a record"
			}
		}
	}
	for s, what := range forbidden {
		quoted, _ := json.Marshal(s)
		if len(s) >= 12 && (strings.Contains(text, s) || strings.Contains(text, string(quoted[1:len(quoted)-1]))) {
			f.t.Errorf("%s of %d bytes was printed", what, len(s))
		}
	}
	if len(forbidden) < 2 {
		f.t.Error("the canary knows no secrets")
	}
}

// result is what a run has left.
type result struct {
	code        int
	out, report string
}

func (f *fleet) env(name string) string {
	return map[string]string{"REDIS_URL": f.url, "TOKEN_CACHE_KEYS": f.keys}[name]
}

// run runs the command as its user would, with the service's environment.
func (f *fleet) run(args ...string) result { return f.runWith(nil, args...) }

func (f *fleet) runWith(change func(*world), args ...string) result {
	f.t.Helper()
	var out, report bytes.Buffer
	w := world{append(args, "--prefix", f.prefix), f.env, strings.NewReader(""), &out, &report, time.Now}
	if change != nil {
		change(&w)
	}
	code := run(f.t.Context(), w)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.printed.WriteString(out.String() + report.String())
	return result{code, out.String(), report.String()}
}

func withoutKeys(w *world) {
	env := w.env
	w.env = func(name string) string {
		if name == "TOKEN_CACHE_KEYS" {
			return ""
		}
		return env(name)
	}
}

// must is a run that ends well.
func (f *fleet) must(args ...string) string {
	f.t.Helper()
	r := f.run(args...)
	if r.code != exitDone {
		f.t.Fatalf("%v: exit code %d: %s", args, r.code, r.report)
	}
	return r.out
}

func (f *fleet) listed(args ...string) []item {
	f.t.Helper()
	var items []item
	if err := json.Unmarshal([]byte(f.must(append([]string{"list", "--json"}, args...)...)), &items); err != nil {
		f.t.Fatal(err)
	}
	return items
}

func kinds(items []item) string {
	var all []string
	for _, it := range items {
		all = append(all, it.Kind)
	}
	return strings.Join(all, " ")
}

// instance is one of the service.
type instance struct {
	f     *fleet
	cache *msalredis.Cache
	app   confidential.Client
	obo   confidential.Client
}

func (f *fleet) instance() *instance { return f.instanceWith(f.keys) }

func (f *fleet) instanceWith(keys string) *instance {
	f.t.Helper()
	parsed, err := serializer.ParseKeys(keys)
	if err != nil {
		f.t.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(parsed...)
	if err != nil {
		f.t.Fatal(err)
	}
	cache, err := msalredis.New(f.client(), sealer,
		&msalredis.Options{Prefix: f.prefix, OpTimeout: 10 * time.Second, LocalTTL: time.Minute,
			Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	base := f.entra.Transport()
	f.t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			f.t.Error(err)
		}
		base.CloseIdleConnections()
	})
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		f.t.Fatal(err)
	}
	i := &instance{f: f, cache: cache}
	for _, app := range []*confidential.Client{&i.app, &i.obo} {
		*app, err = confidential.New(f.entra.Authority(tenant), clientID, cred, confidential.WithCache(cache),
			confidential.WithHTTPClient(&http.Client{Transport: cache.Transport(base)}))
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return i
}

func (i *instance) appToken(scope string) {
	i.f.t.Helper()
	ctx := context.Background()
	if _, err := i.app.AcquireTokenByCredential(ctx, []string{scope}); err != nil {
		i.f.t.Fatal(err)
	}
	// The answer is kept behind its caller, before the lease is given back.
	rdb := i.f.redis.Client()
	for end := time.Now().Add(20 * time.Second); len(rdb.Keys(ctx, i.f.prefix+":v1:{*}:lock").Val()) > 0; {
		if time.Now().After(end) {
			i.f.t.Fatal("a lease is not given back")
		}
		time.Sleep(time.Millisecond)
	}
}

func (i *instance) signIn() {
	i.f.t.Helper()
	ctx, scopes := context.Background(), []string{userScope}
	link, err := i.app.AuthCodeURL(ctx, clientID, "http://localhost:5000/signin", scopes)
	if err != nil {
		i.f.t.Fatal(err)
	}
	code, err := i.f.entra.AuthorizeCode(link, user.Username)
	if err != nil {
		i.f.t.Fatal(err)
	}
	if _, err := i.app.AcquireTokenByAuthCode(ctx, code, "http://localhost:5000/signin", scopes); err != nil {
		i.f.t.Fatal(err)
	}
}

// silent is the user's silent call.
func (i *instance) silent() error {
	ctx := context.Background()
	account, err := i.app.Account(ctx, user.HomeAccountID())
	if err == nil {
		_, err = i.app.AcquireTokenSilent(ctx, []string{userScope}, confidential.WithSilentAccount(account))
	}
	return err
}

func (i *instance) onBehalfOf() string {
	i.f.t.Helper()
	assertion, err := i.f.entra.UserToken(clientID, user.Username, "")
	if err != nil {
		i.f.t.Fatal(err)
	}
	if _, err := i.obo.AcquireTokenOnBehalfOf(context.Background(), assertion, []string{userScope}); err != nil {
		i.f.t.Fatal(err)
	}
	return assertion
}

// requests is how many token requests f has cost.
func (f *fleet) requests(do func()) int {
	before := f.entra.Count()
	do()
	return f.entra.Count() - before
}

// eventually waits for what other goroutines bring about, within a generous bound: below LocalTTL, here a minute,
// half-way through which an instance would look by itself.
func (f *fleet) eventually(what string, done func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within 20 s", what)
		}
		<-tick.C
	}
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Date(2027, 1, 31, 23, 30, 0, 0, time.FixedZone("", -3600)) }
	for _, args := range [][]string{{"keygen", "2026b"}, {"keygen", "2026b", "--json"}, {"keygen"}} {
		var out bytes.Buffer
		if code := run(t.Context(), world{args, os.Getenv, nil, &out, io.Discard, now}); code != exitDone {
			t.Fatalf("exit code %d", code)
		}
		text := strings.TrimSpace(out.String())
		if len(args) == 3 {
			var got map[string]string
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			text = got["key"]
		}
		keys, err := serializer.ParseKeys(text)
		id := "2026b"
		if len(args) == 1 {
			id = "2027-02-01" // the day by UTC
		}
		if err != nil || len(keys) != 1 || keys[0].ID() != id {
			t.Errorf("%v: %v", keys, err)
		}
	}
}

// What the caller must change is exit code 2, and the error says what.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	env := func(values ...string) func(string) string {
		return func(name string) string {
			for i := 0; i+1 < len(values); i += 2 {
				if values[i] == name {
					return values[i+1]
				}
			}
			return ""
		}
	}
	away := env("REDIS_URL", "redis://127.0.0.1:1")
	for _, c := range []struct {
		args string
		env  func(string) string
		code int
		want string
	}{
		{"nonsense", away, exitUsage, "unknown command"},
		{"list --nonsense", away, exitUsage, "nonsense"},
		{"list x", away, exitUsage, "x"},
		{"keygen a b", away, exitUsage, "arg"},
		{"keygen a:b", away, exitUsage, "letters"},
		{"show", away, exitUsage, "arg"},
		{"list", env(), exitUsage, "REDIS_URL"},
		{"doctor https://x", env(), exitUsage, "msalredis: URL: connect: the Redis URL cannot be used"},
		{"doctor https://x", env(), exitUsage, "write redis://"},
		{"list --prefix a{b", away, exitUsage, "--prefix"},
		{"list --prefix=", away, exitUsage, "--prefix"},
		{"list", env("REDIS_URL", "redis://127.0.0.1:1", "TOKEN_CACHE_KEYS", "no-colon"), exitUsage, "TOKEN_CACHE_KEYS"},
		{"list --ca x", away, exitUsage, "rediss://"},
		{"list --ca /nonexistent", env("REDIS_URL", "rediss://127.0.0.1:1"), exitUsage, "--ca"},
		{"list --ca x", env("REDIS_URL", " rediss://127.0.0.1:1"), exitUsage, "--ca: the file"},
		{"list --ca x", env("REDIS_URL", "n.redis.cache.windows.net:6380,password=p,ssl=True"), exitUsage,
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380"},
		{"list", env("REDIS_URL", "nonsense:Sesame-0123"), exitUsage, "msalredis: REDIS_URL: "},
		{"list --redis nonsense:Sesame-0123", away, exitUsage, "msalredis: --redis: "},
		{"list", env("REDIS_URL", "redis://:Sesame-0123@127.0.0.1:1?max_retries=-1"), exitFailed, "msalredis: REDIS_URL: "},
		{"list --redis redis://:Sesame-0123@127.0.0.1:1?max_retries=-1", env(), exitFailed, "msalredis: --redis: "},
		{"doctor --redis https://:Sesame-0123@x", away, exitUsage, "--redis: "},
		{"list --ca x --redis redis://:Sesame-0123@127.0.0.1:1", away, exitUsage, "the URL in --redis must"},
		{"list --ca x", away, exitUsage, "the URL in REDIS_URL must"},
		{"purge", away, exitUsage, "--account"},
		{"purge --account a --scope s", away, exitUsage, "--scope"},
		{"purge --tenant a --json", away, exitUsage, "--yes"},
		{"watch --every 1ms", away, exitUsage, "--every"},
		{"list", away, exitFailed, "nothing listens"},
	} {
		var out, report bytes.Buffer
		code := run(t.Context(), world{strings.Fields(c.args), c.env, strings.NewReader(""), &out, &report, time.Now})
		if code != c.code || !strings.Contains(report.String(), c.want) || out.Len() > 0 ||
			strings.Contains(report.String(), "Sesame-0123") {
			t.Errorf("%s: exit code %d, want %d with %q: %s%s", c.args, code, c.code, c.want, report.String(), out.String())
		}
	}
}

func TestHelpAndCompletion(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"": "Exit codes", "--help": "TOKEN_CACHE_KEYS", "keygen --help": "Rotation", "doctor --help": "skip",
		"list --help": "SCAN", "show --help": "value by value",
		"purge --help": "--dry-run", "reseal --help": "safe while the service runs", "watch --help": "throttled",
		"completion bash": "bash completion", "completion zsh": "#compdef", "completion fish": "fish completion",
		"completion powershell": "Register-ArgumentCompleter", "__complete pur": "purge",
	} {
		var out bytes.Buffer
		none := func(string) string { return "" }
		w := world{strings.Fields(args), none, nil, &out, io.Discard, time.Now}
		if code := run(t.Context(), w); code != exitDone || !strings.Contains(out.String(), want) {
			t.Errorf("%q: exit code %d, want %q in %s", args, code, want, out.String())
		}
	}
}

// Help fits a terminal of 80 columns, but for examples, which are to be copied.
func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"", "keygen", "doctor", "list", "show", "purge", "reseal", "watch", "completion"} {
		code, printed := invoked(nil, strings.Fields(args+" --help")...)
		if code != exitDone {
			t.Errorf("%q: exit code %d", args, code)
		}
		for line := range strings.Lines(printed) {
			if n := len(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "  msalredis ") {
				t.Errorf("%q: %d columns: %s", args, n, line)
			}
		}
	}
}

// Help, and the completion of a shell, offer the flags that a command uses and no others.
func TestHelpHasTheFlagsThatACommandUses(t *testing.T) {
	t.Parallel()
	const toReach = "ca entra insecure-skip-verify json prefix redis"
	choosing := "account client scope tenant "
	flag := regexp.MustCompile(`(?m)^(?: +(?:-\w, )?)?--([a-z-]+)`)
	for name, want := range map[string]string{
		"": toReach + " version", "keygen": "json", "doctor": toReach, "list": choosing + toReach, "show": toReach,
		"purge": choosing + toReach + " dry-run yes", "reseal": toReach, "watch": "every " + toReach,
		"completion": "", "completion bash": "no-descriptions", "completion fish": "no-descriptions",
		"completion powershell": "no-descriptions", "completion zsh": "no-descriptions", "help": "",
	} {
		wanted := strings.Fields(want)
		slices.Sort(wanted)
		for _, args := range []string{name + " --help", "help " + name, "__complete " + name + " --"} {
			var out bytes.Buffer
			none := func(string) string { return "" }
			code := run(t.Context(), world{strings.Fields(args), none, nil, &out, io.Discard, time.Now})
			var got []string
			for _, m := range flag.FindAllStringSubmatch(out.String(), -1) {
				if m[1] != "help" {
					got = append(got, m[1])
				}
			}
			slices.Sort(got)
			if code != exitDone || !slices.Equal(slices.Compact(got), wanted) {
				t.Errorf("%q: exit code %d: offers %v, want %v", args, code, got, wanted)
			}
		}
	}
	// What is not offered does no harm: a wrapper may give the same flags to every command.
	var out bytes.Buffer
	args := []string{"--redis", "redis://h", "--entra", "keygen", "2026b", "--prefix", "x"}
	if code := run(t.Context(), world{args, os.Getenv, nil, &out, io.Discard, time.Now}); code != exitDone ||
		!strings.HasPrefix(out.String(), "2026b:") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

// go-redis logs what its pool meets, each dial that fails and more; of a command only its own words are printed.
func TestGoRedisIsNotHeard(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "list", "--redis",
		"redis://127.0.0.1:1,127.0.0.1:2?dialer_retries=1&max_retries=-1")
	cmd.Env = append(os.Environ(), asCommand+"=1")
	printed, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Fatalf("%v: %s", err, printed)
	}
	text := string(printed)
	if !strings.HasPrefix(text, "msalredis: --redis: connect: ") || strings.Count(text, "\n") != 1 {
		t.Errorf("printed:\n%s", text)
	}
}

// Ctrl-C, here the end of the context, ends a command in the middle.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range []string{"list", "doctor", "reseal", "purge --tenant " + tenant} {
		var report bytes.Buffer
		if code := run(ctx, world{strings.Fields(args), f.env, strings.NewReader(""), io.Discard, &report,
			time.Now}); code != exitInterrupted {
			t.Errorf("%s: exit code %d: %s", args, code, report.String())
		}
	}
	// A question that nobody answers.
	never, _ := io.Pipe()
	defer never.Close()
	asked, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		defer r.Close()
		buf := make([]byte, 1000)
		for text := ""; !strings.Contains(text, "[y/N]"); {
			n, _ := r.Read(buf)
			text += string(buf[:n])
		}
		cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	args := []string{"purge", "--account", user.HomeAccountID(), "--prefix", f.prefix}
	if code := run(asked, world{args, f.env, never, io.Discard, w, time.Now}); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	w.Close()
}

// rule is a rule of the docs, for the tests' prefix.
func rule(t *testing.T, name, prefix string) string {
	t.Helper()
	for _, file := range []string{"redis.md", "operations.md"} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile("(?s)\n```" + name + "\n(.*?)```").FindSubmatch(text); m != nil {
			return strings.ReplaceAll(strings.Join(strings.Fields(string(m[1])), " "), "msal:", prefix+":")
		}
	}
	t.Fatalf("the docs have no rule %s", name)
	return ""
}

// as is the fleet's URL for a user.
func (f *fleet) as(name, password string) string {
	return fmt.Sprintf("redis://%s:%s@%s", name, password, f.redis.Addr())
}
