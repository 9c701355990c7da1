package observability_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// some is Census.Is for any value that is more than none.
func some(c *harness.Census, t *testing.T, i *harness.Instance, name string, attributes ...string) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%s %v is more than 0", name, attributes), func() bool {
		return c.Of(t, i, name, attributes...) > 0
	})
}

// Each metric is brought about by what it counts, and the document lists them all: names, kinds, units, attributes and
// their values.
func TestMetricsCountWhatHappens(t *testing.T) {
	ctx := context.Background()
	c := &harness.Census{All: map[string]harness.Point{}}
	const (
		lookups  = "msalredis.lookups"
		gate     = "msalredis.gate.duration"
		requests = "msalredis.token_request.duration"
		ahead    = "msalredis.refreshes_ahead"
		waits    = "msalredis.lock.wait.duration"
		redisOps = "msalredis.redis.operation.duration"
		writes   = "msalredis.writes"
		breakers = "msalredis.redis.open_breakers"
	)
	app := func(i *harness.Instance) error {
		_, err := i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		return err
	}
	gateAlone := func(i *harness.Instance) error {
		_, err := i.GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		return err
	}
	for name, happens := range map[string]func(*testing.T, *harness.World){
		"a miss, a hit, and a second instance": func(t *testing.T, w *harness.World) {
			a, b := w.Instance(), w.Instance()
			client := a.App()
			for range 3 {
				harness.Must(t)(client.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			}
			w.Settled()
			some(c, t, a, lookups, "msalredis.found=nowhere")
			some(c, t, a, lookups, "msalredis.found=memory")
			c.Is(t, a, 1, gate, "msalredis.grant=client_credentials", "msalredis.outcome=asked")
			c.Is(t, a, 1, requests, "msalredis.grant=client_credentials", "error.type=")
			c.Is(t, a, 1, writes, "msalredis.outcome=stored")
			some(c, t, a, "msalredis.record.size", "msalredis.record=entry")
			some(c, t, a, "msalredis.record.size", "msalredis.record=answer")
			for _, script := range []string{"load", "store", "look", "respond"} {
				some(c, t, a, redisOps, "db.stored_procedure.name="+script, "error.type=")
			}
			for _, what := range []string{"partitions", "answers", "discovery"} {
				some(c, t, a, "msalredis.memory.size", "msalredis.holds="+what)
			}
			if err := app(b); err != nil {
				t.Fatal(err)
			}
			c.Is(t, b, 1, lookups, "msalredis.found=redis")
			c.Is(t, b, 1, gate, "msalredis.outcome=shared") // which tells the client's capabilities
			if err := gateAlone(b); err != nil {
				t.Fatal(err)
			}
			c.Is(t, b, 2, gate, "msalredis.outcome=shared")
			c.Is(t, b, 0, requests)
			if err := app(b); err != nil { // another client of the process
				t.Fatal(err)
			}
			c.Is(t, b, 1, lookups, "msalredis.found=process")
		},
		"waiting for another, and a lease that is lost": func(t *testing.T, w *harness.World) {
			a, b := w.Instance(), w.Instance()
			d := w.Door()
			leader := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
				return a.GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			})
			d.Wait(t)
			others := harness.StartCalls(8, func(int) (confidential.AuthResult, error) {
				return b.GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			})
			leaves, leave := context.WithCancel(ctx)
			gone := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
				return b.GateApp().AcquireTokenByCredential(leaves, []string{harness.GraphScope})
			})
			harness.InGate(t, 10)
			w.LeaseWaiters(t, 1)
			leave()
			if got := <-gone; got.Err == nil {
				t.Error("a caller whose context ended got a token")
			}
			// As after an eviction. That another has taken it keeps the waiters from doing so before the answer is there.
			for _, k := range w.KeysLike(":lock") {
				w.Redis.Admin.Set(ctx, k, "another's", redis.KeepTTL)
			}
			d.Open()
			harness.CollectCalls(t, 1, leader)
			harness.OneToken(t, harness.CollectCalls(t, 8, others))
			c.Is(t, b, 8, gate, "msalredis.outcome=waited")
			c.Is(t, b, 1, gate, "msalredis.outcome=left")
			some(c, t, b, waits)
			harness.Eventually(t, "the loss is counted", func() bool { return c.Of(t, a, "msalredis.lock.losses") == 1 })
		},
		"an answer waited for": func(t *testing.T, w *harness.World) {
			a, b := w.Instance(), w.Instance()
			d := w.Door()
			all := harness.StartCalls(2, func(i int) (confidential.AuthResult, error) {
				return []*harness.Instance{a, b}[i].GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			})
			d.Wait(t)
			w.LeaseWaiters(t, 1)
			d.Open()
			harness.OneToken(t, harness.CollectCalls(t, 2, all))
			if n := c.Of(t, a, waits, "msalredis.outcome=answered") + c.Of(t, b, waits, "msalredis.outcome=answered"); n != 1 {
				t.Errorf("%v waits were answered, want 1", n)
			}
		},
		"a refresh ahead, here and elsewhere": func(t *testing.T, w *harness.World) {
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
			a, b := w.Instance(), w.Instance()
			if err := errors.Join(gateAlone(a), gateAlone(b)); err != nil {
				t.Fatal(err)
			}
			harness.WaitUntil(time.Now().Add(1100 * time.Millisecond))
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
			d := w.Door()
			if err := gateAlone(a); err != nil {
				t.Fatal(err)
			}
			d.Wait(t)
			if err := gateAlone(b); err != nil {
				t.Fatal(err)
			}
			harness.Eventually(t, "the other leaves it", func() bool {
				return c.Of(t, b, ahead, "msalredis.outcome=elsewhere") == 1
			})
			d.Open()
			harness.Eventually(t, "the refresh is counted", func() bool {
				return c.Of(t, a, ahead, "msalredis.outcome=refreshed") == 1
			})
		},
		"a refresh ahead that fails": func(t *testing.T, w *harness.World) {
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
			i := w.Instance()
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			harness.WaitUntil(time.Now().Add(1100 * time.Millisecond))
			w.Entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			harness.Eventually(t, "it is counted", func() bool { return c.Of(t, i, ahead, "msalredis.outcome=throttled") == 1 })
			c.Is(t, i, 1, gate, "msalredis.outcome=shared")
		},
		"throttled": func(t *testing.T, w *harness.World) {
			w.Entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
			a, b := w.Instance(), w.Instance()
			for _, i := range []*harness.Instance{a, b} {
				if gateAlone(i) == nil {
					t.Fatal("a token while throttled")
				}
				c.Is(t, i, 1, gate, "msalredis.outcome=throttled")
			}
			c.Is(t, a, 1, requests, "error.type=429")
			c.Is(t, b, 0, requests)
		},
		"Entra ID down, and an old token": func(t *testing.T, w *harness.World) {
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 4 * time.Minute })
			i := w.Instance()
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			w.Settled() // else the next waits with the first
			w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			c.Is(t, i, 1, gate, "msalredis.outcome=stale")
			if _, err := i.GateApp().AcquireTokenByCredential(ctx, []string{"https://other.example.com/.default"}); err == nil {
				t.Error("a token while Entra ID is down")
			}
			c.Is(t, i, 1, gate, "msalredis.outcome=failed")
			some(c, t, i, requests, "error.type=503")
		},
		"Entra ID unreachable": func(t *testing.T, w *harness.World) {
			w.Entra.AddFault(entratest.Fault{Drop: true})
			i := w.Instance()
			if gateAlone(i) == nil {
				t.Error("a token from nowhere")
			}
			some(c, t, i, requests, "error.type=unreachable")
		},
		"refused": func(t *testing.T, w *harness.World) {
			i := w.Instance()
			w.Entra.AddApp(entratest.App{ClientID: harness.ClientID, Secret: "another"})
			if gateAlone(i) == nil {
				t.Error("a token for the wrong secret")
			}
			c.Is(t, i, 1, gate, "msalredis.outcome=refused")
			c.Is(t, i, 1, requests, "error.type=401")
		},
		"Redis away and back": func(t *testing.T, w *harness.World) {
			u := w.AddUsers(1)[0]
			i := w.Instance(harness.ShortOpTimeout)
			client := i.App()
			i.SignIn(client, u)
			harness.Must(t)(harness.Silent(ctx, client, u.HomeAccountID()))
			c.Is(t, i, 0, breakers)
			w.Redis.Kill()
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			some(c, t, i, "msalredis.redis.errors", "error.type=away")
			some(c, t, i, lookups, "msalredis.found=unknown")
			some(c, t, i, writes, "msalredis.outcome=kept")
			c.Is(t, i, 1, breakers)
			some(c, t, i, "msalredis.pending.writes")
			some(c, t, i, "msalredis.pending.size")
			c.Is(t, i, 0, "msalredis.pending.signouts")
			w.Redis.Restart()
			harness.Eventually(t, "Redis is back", func() bool {
				return c.Of(t, i, breakers) == 0 && c.Of(t, i, "msalredis.pending.writes") == 0
			})
			harness.Eventually(t, "the user's record is restored", func() bool {
				_, _ = harness.Silent(ctx, client, u.HomeAccountID(), harness.MailScope)
				return c.Of(t, i, writes, "msalredis.outcome=restored") > 0
			})
		},
		"a sign-out that waits": func(t *testing.T, w *harness.World) {
			u := w.AddUsers(1)[0]
			i := w.Instance(harness.ShortOpTimeout)
			i.SignIn(i.App(), u)
			w.Redis.Kill()
			if err := i.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
				t.Error("a sign-out without Redis")
			}
			c.Is(t, i, 1, "msalredis.pending.signouts")
			w.Redis.Restart()
			harness.Eventually(t, "it is done", func() bool { return c.Of(t, i, "msalredis.pending.signouts") == 0 })
			some(c, t, i, redisOps, "db.stored_procedure.name=signout")
		},
		"Redis refuses writes": func(t *testing.T, w *harness.World) {
			i := w.Instance()
			w.Redis.ReadOnly(w.T)
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			some(c, t, i, "msalredis.redis.errors", "error.type=refused")
			some(c, t, i, redisOps, "db.stored_procedure.name=store", "error.type=refused")
			c.Is(t, i, 0, breakers)
		},
		"no room to wait": func(t *testing.T, w *harness.World) {
			i := w.Instance(harness.ShortOpTimeout, func(o *msalredis.Options) { o.LocalBytes = 1 })
			w.Redis.ReadOnly(w.T)
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			some(c, t, i, writes, "msalredis.outcome=dropped")
		},
		"a refresh that races a sign-out": func(t *testing.T, w *harness.World) {
			u := w.AddUsers(1)[0]
			a, b := w.Instance(), w.Instance()
			client := a.App()
			a.SignIn(client, u)
			d := w.Door()
			refresh := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
				return harness.Silent(ctx, client, u.HomeAccountID(), harness.MailScope)
			})
			d.Wait(t)
			if err := b.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			d.Open()
			harness.CollectCalls(t, 1, refresh)
			some(c, t, a, writes, "msalredis.outcome=refused_after_signout")
		},
		"on-behalf-of": func(t *testing.T, w *harness.World) {
			u := w.AddUsers(1)[0]
			i := w.Instance()
			if _, err := i.App().AcquireTokenOnBehalfOf(ctx, w.Assertion(t, u), []string{harness.UserScope}); err != nil {
				t.Fatal(err)
			}
			c.Is(t, i, 1, gate, "msalredis.grant=urn:ietf:params:oauth:grant-type:jwt-bearer", "msalredis.outcome=asked")
			some(c, t, i, redisOps, "db.stored_procedure.name=enlist")
			if err := i.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			some(c, t, i, redisOps, "db.stored_procedure.name=forget")
		},
		"another's key": func(t *testing.T, w *harness.World) {
			if err := app(w.Instance()); err != nil {
				t.Fatal(err)
			}
			other, err := serializer.GenerateKey("k2")
			if err != nil {
				t.Fatal(err)
			}
			i := w.InstanceOn(w.Client(), w.Sealer(other.Export()), harness.Options(w.Prefix))
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			some(c, t, i, "msalredis.records.unreadable", "error.type=unknown_key")
		},
		"sealing fails": func(t *testing.T, w *harness.World) {
			i := w.InstanceOn(w.Client(), unsealable{w.Sealer(w.Keys)}, harness.Options(w.Prefix))
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			w.Settled()
			some(c, t, i, "msalredis.records.unsealed", "msalredis.record=entry")
			some(c, t, i, "msalredis.records.unsealed", "msalredis.record=answer")
		},
	} {
		t.Run(name, func(t *testing.T) { happens(t, harness.Breakable(t)) })
	}
	if !t.Failed() {
		documented(c, t)
	}
}

// unsealable is a serializer that only opens.
type unsealable struct{ serializer.Serializer }

func (unsealable) Seal([]byte, []byte) ([]byte, error) {
	return nil, errors.New("the key service is away")
}

// tableOf are the rows of the first table under a heading of docs/observability.md, by their first cell's code.
func tableOf(t *testing.T, heading string) map[string][]string {
	t.Helper()
	_, text, ok := strings.Cut(harness.ReadFile(t, "docs/observability.md"), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if code := codeIn(cells[0]); len(code) > 0 && len(cells) > 1 {
			rows[code[0]] = cells
		}
	}
	if len(rows) == 0 {
		t.Fatalf("no table under %q", heading)
	}
	return rows
}

func codeIn(cell string) []string {
	var all []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// documented holds the document to what was measured.
func documented(c *harness.Census, t *testing.T) {
	t.Helper()
	rows := tableOf(t, "## Metrics")
	document := harness.ReadFile(t, "docs/observability.md")
	measured := map[string]bool{}
	for _, p := range c.All {
		measured[p.Name] = true
		row, ok := rows[p.Name]
		if !ok {
			t.Errorf("the document lacks %s", p.Name)
			continue
		}
		if row[1] != p.Kind || row[2] != "`"+p.Unit+"`" {
			t.Errorf("%s is a %s in %s; the document says %s in %s", p.Name, p.Kind, p.Unit, row[1], row[2])
		}
		for _, kv := range p.Attributes.ToSlice() {
			if !slices.Contains(codeIn(row[3]), string(kv.Key)) {
				t.Errorf("%s has the attribute %s, which its row does not list", p.Name, kv.Key)
			}
			if v := kv.Value.String(); !strings.Contains(document, "`"+v+"`") && !regexp.MustCompile(`^\d{3}$`).MatchString(v) {
				t.Errorf("%s has %s=%s, and the document does not speak of it", p.Name, kv.Key, v)
			}
		}
	}
	for name := range rows {
		if strings.HasPrefix(name, "msalredis.") && !measured[name] {
			t.Errorf("the document lists %s, which was never measured", name)
		}
	}
	for outcome := range rows {
		if strings.Contains(outcome, ".") {
			continue
		}
		if !slices.ContainsFunc(keysOfMap(c.All), func(k string) bool {
			return strings.HasPrefix(k, "msalredis.gate.duration ") && strings.Contains(k, "msalredis.outcome="+outcome)
		}) {
			t.Errorf("the document lists the outcome %s, which was never measured", outcome)
		}
	}
	// And what the code makes is what was measured.
	for _, name := range literals(t, regexp.MustCompile(`^msalredis\.[a-z_.]+$`), "msalredisotel/metrics.go") {
		if strings.HasPrefix(name, "msalredis.") && !measured[name] && !slices.Contains(attributeNames, name) {
			t.Errorf("the code has %s, which no test measures", name)
		}
	}
}

var attributeNames = []string{"msalredis.found", "msalredis.grant", "msalredis.outcome", "msalredis.record",
	"msalredis.holds", "msalredis.background"}

func keysOfMap[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// literals are the string literals in files of the repository that match.
func literals(t *testing.T, match *regexp.Regexp, files ...string) []string {
	t.Helper()
	var all []string
	for _, name := range files {
		path := filepath.Join(harness.Root(t), name)
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil && match.MatchString(text) {
					all = append(all, text)
				}
			}
			return true
		})
	}
	if len(all) == 0 {
		t.Fatal("no literal found: this test shows nothing")
	}
	return all
}

func named(all tracetest.SpanStubs) map[string]tracetest.SpanStub {
	m := map[string]tracetest.SpanStub{}
	for _, s := range all {
		m[s.Name] = s
	}
	return m
}

// A hit makes no metric call and no span: with a provider it allocates what it does without.
func TestMetricsCostAHitNothing(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	allocations := func(i *harness.Instance) float64 {
		app := i.App()
		call := func() {
			if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
				t.Fatal(err)
			}
		}
		call()
		call()
		return testing.AllocsPerRun(200, call)
	}
	// The longest LocalTTL: a revalidation in the background would be counted.
	long := func(o *msalredis.Options) { o.LocalTTL = time.Hour }
	tokens, err := msalredis.New(w.Client(), w.Sealer(w.Keys),
		&msalredis.Options{Prefix: w.Prefix, OpTimeout: 10 * time.Second, LocalTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	base := w.Entra.Transport()
	defer base.CloseIdleConnections()
	with := allocations(w.Instance(long))
	without := allocations(&harness.Instance{World: w, Tokens: tokens,
		HTTP: &http.Client{Transport: tokens.Transport(base)}})
	if with > without {
		t.Errorf("a hit makes %v allocations with providers, %v without", with, without)
	}
}
