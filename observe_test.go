package msalredis_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// observed collects the metrics and spans of an instance.
type observed struct {
	reader *sdkmetric.ManualReader
	spans  *tracetest.InMemoryExporter
	traces *sdktrace.TracerProvider
	meters *sdkmetric.MeterProvider
}

func newObserved() *observed {
	o := &observed{reader: sdkmetric.NewManualReader(), spans: tracetest.NewInMemoryExporter()}
	o.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(o.spans), sdktrace.WithSpanProcessor(spans{canary}))
	o.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader))
	return o
}

// point is one series of a metric: a sum's or gauge's value, or a histogram's count.
type point struct {
	name, unit, kind string
	attributes       attribute.Set
	value            float64
}

func (o *observed) points(t *testing.T) []point {
	t.Helper()
	var m metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &m); err != nil {
		t.Fatal(err)
	}
	var all []point
	for _, s := range m.ScopeMetrics {
		for _, x := range s.Metrics {
			add := func(kind string, as attribute.Set, v float64) {
				all = append(all, point{x.Name, x.Unit, kind, as, v})
			}
			switch data := x.Data.(type) {
			case metricdata.Sum[int64]:
				kind := "up-down counter"
				if data.IsMonotonic {
					kind = "counter"
				}
				for _, p := range data.DataPoints {
					add(kind, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add("gauge", p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add("histogram", p.Attributes, float64(p.Count))
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					add("histogram", p.Attributes, float64(p.Count))
				}
			default:
				t.Errorf("%s is a %T", x.Name, data)
			}
		}
	}
	return all
}

// census is what instances have measured: every series that is not 0.
type census struct {
	mu  sync.Mutex
	all map[string]point
}

// of is the value of a metric's series with these attributes, "key=value", summed. All that it reads is kept.
func (c *census) of(t *testing.T, i *instance, name string, attributes ...string) (sum float64) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range i.seen.points(t) {
		if p.value != 0 {
			c.all[p.name+" "+p.attributes.Encoded(attribute.DefaultEncoder())] = p
		}
		if p.name != name {
			continue
		}
		ok := true
		for _, want := range attributes {
			key, value, _ := strings.Cut(want, "=")
			v, has := p.attributes.Value(attribute.Key(key))
			if value == "" && !has { // "error.type=": without
				continue
			}
			ok = ok && has && v.String() == value
		}
		if ok {
			sum += p.value
		}
	}
	return sum
}

// is demands a value.
func (c *census) is(t *testing.T, i *instance, want float64, name string, attributes ...string) {
	t.Helper()
	if got := c.of(t, i, name, attributes...); got != want {
		t.Errorf("%s %v is %v, want %v", name, attributes, got, want)
	}
}

func (c *census) some(t *testing.T, i *instance, name string, attributes ...string) {
	t.Helper()
	if got := c.of(t, i, name, attributes...); got <= 0 {
		t.Errorf("%s %v is %v, want more than 0", name, attributes, got)
	}
}

// Each metric is brought about by what it counts, and the document lists them all: names, kinds, units, attributes and
// their values.
func TestMetricsCountWhatHappens(t *testing.T) {
	ctx := context.Background()
	c := &census{all: map[string]point{}}
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
	app := func(i *instance) error {
		_, err := i.app().AcquireTokenByCredential(ctx, []string{graph})
		return err
	}
	gateAlone := func(i *instance) error {
		_, err := i.gateApp().AcquireTokenByCredential(ctx, []string{graph})
		return err
	}
	for name, happens := range map[string]func(*testing.T, *world){
		"a miss, a hit, and a second instance": func(t *testing.T, w *world) {
			a, b := w.instance(), w.instance()
			client := a.app()
			for range 3 {
				must(t)(client.AcquireTokenByCredential(ctx, []string{graph}))
			}
			c.some(t, a, lookups, "msalredis.found=nowhere")
			c.some(t, a, lookups, "msalredis.found=memory")
			c.is(t, a, 1, gate, "msalredis.grant=client_credentials", "msalredis.outcome=asked")
			c.is(t, a, 1, requests, "msalredis.grant=client_credentials", "error.type=")
			c.is(t, a, 1, writes, "msalredis.outcome=stored")
			c.some(t, a, "msalredis.record.size", "msalredis.record=entry")
			c.some(t, a, "msalredis.record.size", "msalredis.record=answer")
			for _, script := range []string{"load", "store", "look", "respond"} {
				c.some(t, a, redisOps, "db.stored_procedure.name="+script, "error.type=")
			}
			for _, what := range []string{"partitions", "answers", "discovery"} {
				c.some(t, a, "msalredis.memory.size", "msalredis.holds="+what)
			}
			if err := app(b); err != nil {
				t.Fatal(err)
			}
			c.is(t, b, 1, lookups, "msalredis.found=redis")
			c.is(t, b, 1, gate, "msalredis.outcome=shared") // which tells the client's capabilities
			if err := gateAlone(b); err != nil {
				t.Fatal(err)
			}
			c.is(t, b, 2, gate, "msalredis.outcome=shared")
			c.is(t, b, 0, requests)
			if err := app(b); err != nil { // another client of the process
				t.Fatal(err)
			}
			c.is(t, b, 1, lookups, "msalredis.found=process")
		},
		"waiting for another, and a lease that is lost": func(t *testing.T, w *world) {
			a, b := w.instance(), w.instance()
			d := w.door()
			leader := start(1, func(int) (confidential.AuthResult, error) {
				return a.gateApp().AcquireTokenByCredential(ctx, []string{graph})
			})
			d.wait(t)
			others := start(8, func(int) (confidential.AuthResult, error) {
				return b.gateApp().AcquireTokenByCredential(ctx, []string{graph})
			})
			leaves, leave := context.WithCancel(ctx)
			gone := start(1, func(int) (confidential.AuthResult, error) {
				return b.gateApp().AcquireTokenByCredential(leaves, []string{graph})
			})
			inGate(t, 10)
			w.leaseWaiters(t, 1)
			leave()
			if got := <-gone; got.err == nil {
				t.Error("a caller whose context ended got a token")
			}
			// As an eviction would.
			for _, k := range w.keysOf() {
				if strings.HasSuffix(k, ":lock") {
					w.redis.admin.Del(ctx, k)
				}
			}
			d.open()
			collect(t, 1, leader)
			oneToken(t, collect(t, 8, others))
			c.is(t, b, 8, gate, "msalredis.outcome=waited")
			c.is(t, b, 1, gate, "msalredis.outcome=left")
			c.some(t, b, waits)
			eventually(t, "the loss is counted", func() bool { return c.of(t, a, "msalredis.lock.losses") == 1 })
		},
		"an answer waited for": func(t *testing.T, w *world) {
			a, b := w.instance(), w.instance()
			d := w.door()
			all := start(2, func(i int) (confidential.AuthResult, error) {
				return []*instance{a, b}[i].gateApp().AcquireTokenByCredential(ctx, []string{graph})
			})
			d.wait(t)
			w.leaseWaiters(t, 1)
			d.open()
			oneToken(t, collect(t, 2, all))
			if n := c.of(t, a, waits, "msalredis.outcome=answered") + c.of(t, b, waits, "msalredis.outcome=answered"); n != 1 {
				t.Errorf("%v waits were answered, want 1", n)
			}
		},
		"a refresh ahead, here and elsewhere": func(t *testing.T, w *world) {
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
			a, b := w.instance(), w.instance()
			if err := errors.Join(gateAlone(a), gateAlone(b)); err != nil {
				t.Fatal(err)
			}
			waitUntil(time.Now().Add(1100 * time.Millisecond))
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
			d := w.door()
			if err := gateAlone(a); err != nil {
				t.Fatal(err)
			}
			d.wait(t)
			if err := gateAlone(b); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the other leaves it", func() bool { return c.of(t, b, ahead, "msalredis.outcome=elsewhere") == 1 })
			d.open()
			eventually(t, "the refresh is counted", func() bool { return c.of(t, a, ahead, "msalredis.outcome=refreshed") == 1 })
		},
		"a refresh ahead that fails": func(t *testing.T, w *world) {
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
			i := w.instance()
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			waitUntil(time.Now().Add(1100 * time.Millisecond))
			w.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is counted", func() bool { return c.of(t, i, ahead, "msalredis.outcome=throttled") == 1 })
			c.is(t, i, 1, gate, "msalredis.outcome=shared")
		},
		"throttled": func(t *testing.T, w *world) {
			w.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
			a, b := w.instance(), w.instance()
			for _, i := range []*instance{a, b} {
				if gateAlone(i) == nil {
					t.Fatal("a token while throttled")
				}
				c.is(t, i, 1, gate, "msalredis.outcome=throttled")
			}
			c.is(t, a, 1, requests, "error.type=429")
			c.is(t, b, 0, requests)
		},
		"Entra ID down, and an old token": func(t *testing.T, w *world) {
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 4 * time.Minute })
			i := w.instance()
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			w.entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
			if err := gateAlone(i); err != nil {
				t.Fatal(err)
			}
			c.is(t, i, 1, gate, "msalredis.outcome=stale")
			if _, err := i.gateApp().AcquireTokenByCredential(ctx, []string{"https://other.example.com/.default"}); err == nil {
				t.Error("a token while Entra ID is down")
			}
			c.is(t, i, 1, gate, "msalredis.outcome=failed")
			c.some(t, i, requests, "error.type=503")
		},
		"Entra ID unreachable": func(t *testing.T, w *world) {
			w.entra.AddFault(entratest.Fault{Drop: true})
			i := w.instance()
			if gateAlone(i) == nil {
				t.Error("a token from nowhere")
			}
			c.some(t, i, requests, "error.type=unreachable")
		},
		"refused": func(t *testing.T, w *world) {
			i := w.instance()
			w.entra.AddApp(entratest.App{ClientID: clientID, Secret: "another"})
			if gateAlone(i) == nil {
				t.Error("a token for the wrong secret")
			}
			c.is(t, i, 1, gate, "msalredis.outcome=refused")
			c.is(t, i, 1, requests, "error.type=401")
		},
		"Redis away and back": func(t *testing.T, w *world) {
			u := w.addUsers(1)[0]
			i := w.instance(quick)
			client := i.app()
			i.signIn(client, u)
			must(t)(silent(ctx, client, u.HomeAccountID()))
			c.is(t, i, 0, breakers)
			w.redis.Kill()
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			c.some(t, i, "msalredis.redis.errors", "error.type=away")
			c.some(t, i, lookups, "msalredis.found=unknown")
			c.some(t, i, writes, "msalredis.outcome=kept")
			c.is(t, i, 1, breakers)
			c.some(t, i, "msalredis.pending.writes")
			c.some(t, i, "msalredis.pending.size")
			c.is(t, i, 0, "msalredis.pending.signouts")
			w.redis.Restart()
			eventually(t, "Redis is back", func() bool {
				return c.of(t, i, breakers) == 0 && c.of(t, i, "msalredis.pending.writes") == 0
			})
			eventually(t, "the user's record is restored", func() bool {
				_, _ = silent(ctx, client, u.HomeAccountID(), mailScope)
				return c.of(t, i, writes, "msalredis.outcome=restored") > 0
			})
		},
		"a sign-out that waits": func(t *testing.T, w *world) {
			u := w.addUsers(1)[0]
			i := w.instance(quick)
			i.signIn(i.app(), u)
			w.redis.Kill()
			if err := i.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
				t.Error("a sign-out without Redis")
			}
			c.is(t, i, 1, "msalredis.pending.signouts")
			w.redis.Restart()
			eventually(t, "it is done", func() bool { return c.of(t, i, "msalredis.pending.signouts") == 0 })
			c.some(t, i, redisOps, "db.stored_procedure.name=signout")
		},
		"Redis refuses writes": func(t *testing.T, w *world) {
			i := w.instance()
			w.redis.ReadOnly(w.t)
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			c.some(t, i, "msalredis.redis.errors", "error.type=refused")
			c.some(t, i, redisOps, "db.stored_procedure.name=store", "error.type=refused")
			c.is(t, i, 0, breakers)
		},
		"no room to wait": func(t *testing.T, w *world) {
			i := w.instance(quick, func(o *msalredis.Options) { o.LocalBytes = 1 })
			w.redis.ReadOnly(w.t)
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			c.some(t, i, writes, "msalredis.outcome=dropped")
		},
		"a refresh that races a sign-out": func(t *testing.T, w *world) {
			u := w.addUsers(1)[0]
			a, b := w.instance(), w.instance()
			client := a.app()
			a.signIn(client, u)
			d := w.door()
			refresh := start(1, func(int) (confidential.AuthResult, error) {
				return silent(ctx, client, u.HomeAccountID(), mailScope)
			})
			d.wait(t)
			if err := b.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			d.open()
			collect(t, 1, refresh)
			c.some(t, a, writes, "msalredis.outcome=refused_after_signout")
		},
		"on-behalf-of": func(t *testing.T, w *world) {
			u := w.addUsers(1)[0]
			i := w.instance()
			if _, err := i.app().AcquireTokenOnBehalfOf(ctx, w.assertion(t, u), []string{userScope}); err != nil {
				t.Fatal(err)
			}
			c.is(t, i, 1, gate, "msalredis.grant=urn:ietf:params:oauth:grant-type:jwt-bearer", "msalredis.outcome=asked")
			c.some(t, i, redisOps, "db.stored_procedure.name=enlist")
			if err := i.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			c.some(t, i, redisOps, "db.stored_procedure.name=forget")
		},
		"another's key": func(t *testing.T, w *world) {
			if err := app(w.instance()); err != nil {
				t.Fatal(err)
			}
			other, err := serializer.GenerateKey("k2")
			if err != nil {
				t.Fatal(err)
			}
			i := w.instanceOn(w.client(), w.sealer(other.Export()), options(w.prefix))
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			c.some(t, i, "msalredis.records.unreadable", "error.type=unknown_key")
		},
		"sealing fails": func(t *testing.T, w *world) {
			i := w.instanceOn(w.client(), unsealable{w.sealer(w.keys)}, options(w.prefix))
			if err := app(i); err != nil {
				t.Fatal(err)
			}
			c.some(t, i, "msalredis.records.unsealed", "msalredis.record=entry")
			c.some(t, i, "msalredis.records.unsealed", "msalredis.record=answer")
		},
	} {
		t.Run(name, func(t *testing.T) { happens(t, breakable(t)) })
	}
	if !t.Failed() {
		c.documented(t)
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
	_, text, ok := strings.Cut(readFile(t, "docs/observability.md"), "\n"+heading+"\n")
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
func (c *census) documented(t *testing.T) {
	t.Helper()
	rows := tableOf(t, "## Metrics")
	document := readFile(t, "docs/observability.md")
	measured := map[string]bool{}
	for _, p := range c.all {
		measured[p.name] = true
		row, ok := rows[p.name]
		if !ok {
			t.Errorf("the document lacks %s", p.name)
			continue
		}
		if row[1] != p.kind || row[2] != "`"+p.unit+"`" {
			t.Errorf("%s is a %s in %s; the document says %s in %s", p.name, p.kind, p.unit, row[1], row[2])
		}
		for _, kv := range p.attributes.ToSlice() {
			if !slices.Contains(codeIn(row[3]), string(kv.Key)) {
				t.Errorf("%s has the attribute %s, which its row does not list", p.name, kv.Key)
			}
			if v := kv.Value.String(); !strings.Contains(document, "`"+v+"`") && !regexp.MustCompile(`^\d{3}$`).MatchString(v) {
				t.Errorf("%s has %s=%s, and the document does not speak of it", p.name, kv.Key, v)
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
		if !slices.ContainsFunc(keysOfMap(c.all), func(k string) bool {
			return strings.HasPrefix(k, "msalredis.gate.duration ") && strings.Contains(k, "msalredis.outcome="+outcome)
		}) {
			t.Errorf("the document lists the outcome %s, which was never measured", outcome)
		}
	}
	// And what the code makes is what was measured.
	for _, name := range literals(t, regexp.MustCompile(`^msalredis\.[a-z_.]+$`), "metrics.go") {
		if strings.HasPrefix(name, "msalredis.") && !measured[name] && !slices.Contains(attributeNames, name) {
			t.Errorf("the code has %s, which no test measures", name)
		}
	}
}

var attributeNames = []string{"msalredis.found", "msalredis.grant", "msalredis.outcome", "msalredis.record", "msalredis.holds", "msalredis.background"}

func keysOfMap[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// literals are the string literals in files of internal/telemetry that match.
func literals(t *testing.T, match *regexp.Regexp, files ...string) []string {
	t.Helper()
	var all []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("internal", "telemetry", name), nil, 0)
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

// The spans of an acquisition are in the caller's trace, in the order that the document gives; those who share a flight
// are linked to it; and nothing in them names anybody.
func TestSpansOfAnAcquisition(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance()
	tracer := a.seen.traces.Tracer("caller")

	ctx, caller := tracer.Start(context.Background(), "caller")
	app := a.app()
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	caller.End()
	spans := named(a.seen.spans.GetSpans())
	parent := map[string]string{
		"msalredis.replace": "caller", "msalredis.gate": "caller", "msalredis.acquire": "msalredis.gate",
		"msalredis.lock": "msalredis.acquire", "msalredis.token_request": "msalredis.acquire", "EVALSHA look": "msalredis.acquire",
		"EVALSHA respond": "msalredis.acquire", "EVALSHA load": "msalredis.replace", "EVALSHA store": "caller",
	}
	for name, s := range spans {
		if s.SpanContext.TraceID() != caller.SpanContext().TraceID() {
			t.Errorf("%s is not in the caller's trace", name)
		}
		if want, ok := parent[name]; name != "caller" && name != "EVALSHA enlist" && (!ok || spans[want].SpanContext.SpanID() != s.Parent.SpanID()) {
			t.Errorf("%s is not a child of %q", name, want)
		}
	}
	for name := range parent {
		if _, ok := spans[name]; !ok {
			t.Errorf("no span %s", name)
		}
	}
	a.seen.spans.Reset()
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) // takes note of what was written
	a.seen.spans.Reset()
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	if s := a.seen.spans.GetSpans(); len(s) != 0 {
		t.Errorf("a hit has %d spans", len(s))
	}

	// Callers of one flight, each in a trace of its own.
	const other = "https://other.example.com/.default"
	d := w.door()
	all := start(4, func(i int) (confidential.AuthResult, error) {
		ctx, caller := b.seen.traces.Tracer("caller").Start(context.Background(), fmt.Sprint("caller ", i))
		defer caller.End()
		return b.gateApp().AcquireTokenByCredential(ctx, []string{other})
	})
	inGate(t, 4)
	d.open()
	oneToken(t, collect(t, 4, all))
	var flight trace.SpanContext
	for _, s := range b.seen.spans.GetSpans() {
		if s.Name == "msalredis.acquire" {
			flight = s.SpanContext
		}
	}
	traces, linked := map[trace.TraceID]bool{}, 0
	for _, s := range b.seen.spans.GetSpans() {
		if s.Name != "msalredis.gate" {
			continue
		}
		traces[s.SpanContext.TraceID()] = true
		for _, l := range s.Links {
			if l.SpanContext.Equal(flight) && s.SpanContext.TraceID() != flight.TraceID() {
				linked++
			}
		}
	}
	if len(traces) != 4 || linked != 3 {
		t.Errorf("%d traces of 4, %d links of 3", len(traces), linked)
	}

	// A failure, and a user's refresh.
	i := w.instance()
	client := i.app()
	i.signIn(client, u)
	must(t)(silent(context.Background(), client, u.HomeAccountID(), mailScope))
	w.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
	if _, err := i.gateApp().AcquireTokenByCredential(context.Background(), []string{other + "x"}); err == nil {
		t.Error("a token while throttled")
	}
	failed := 0
	rows := tableOf(t, "## Spans")
	for _, s := range slices.Concat(a.seen.spans.GetSpans(), b.seen.spans.GetSpans(), i.seen.spans.GetSpans()) {
		if strings.HasPrefix(s.Name, "caller") {
			continue
		}
		name, _, _ := strings.Cut(s.Name, " ")
		row, ok := rows[name]
		if !ok {
			t.Errorf("the document lacks %s", name)
			continue
		}
		if s.SpanKind.String() != row[1] {
			t.Errorf("%s is of kind %v, the document says %s", s.Name, s.SpanKind, row[1])
		}
		for _, kv := range s.Attributes {
			if !slices.Contains(codeIn(row[2]), string(kv.Key)) {
				t.Errorf("%s has the attribute %s, which its row does not list", s.Name, kv.Key)
			}
		}
		text := fmt.Sprint(s.Name, s.Attributes, s.Status, s.Events)
		for _, who := range []string{clientID, tenant, u.ObjectID, u.Username, "AppTokenCache", w.entra.Host(), "microsoftonline"} {
			if strings.Contains(text, who) {
				t.Errorf("%s names %s", s.Name, who)
			}
		}
		if s.Status.Code == codes.Error {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d spans failed, want the gate's and the token request's", failed)
	}
	for name := range rows {
		if !slices.Contains(literals(t, regexp.MustCompile(`^(msalredis\.[a-z_]+|EVALSHA)$`), "trace.go"), name) {
			t.Errorf("the document lists %s, which the code does not have", name)
		}
	}
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
	w := newWorld(t)
	ctx := context.Background()
	allocations := func(i *instance) float64 {
		app := i.app()
		call := func() {
			if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
				t.Fatal(err)
			}
		}
		call()
		call()
		return testing.AllocsPerRun(200, call)
	}
	// The longest LocalTTL: a revalidation in the background would be counted.
	long := func(o *msalredis.Options) { o.LocalTTL = time.Hour }
	tokens, err := msalredis.New(w.client(), w.sealer(w.keys), &msalredis.Options{Prefix: w.prefix, OpTimeout: 10 * time.Second, LocalTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	base := w.entra.Transport()
	defer base.CloseIdleConnections()
	with := allocations(w.instance(long))
	without := allocations(&instance{w: w, tokens: tokens, http: &http.Client{Transport: tokens.Transport(base)}})
	if with > without {
		t.Errorf("a hit makes %v allocations with providers, %v without", with, without)
	}
}

// Every message in the code is in the document at its level, and no other is.
func TestLogMessagesAreDocumented(t *testing.T) {
	_, text, _ := strings.Cut(readFile(t, "docs/observability.md"), "\n## Log\n")
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| (WARN|INFO) \\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		listed[m[1]+" "+m[2]] = true
	}
	logged := map[string]bool{}
	for _, folder := range loggers(t) {
		eachSource(t, folder, func(file *ast.File) {
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				f, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || f.Sel.Name != "Warn" && f.Sel.Name != "Info" {
					return true
				}
				l, ok := call.Args[0].(*ast.BasicLit)
				if !ok {
					t.Errorf("a message in %s is no literal, and not held to the document", folder)
					return true
				}
				message, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				logged[strings.ToUpper(f.Sel.Name)+" "+message] = true
				return true
			})
		})
	}
	for m := range logged {
		if !listed[m] {
			t.Errorf("the document lacks: %s", m)
		}
	}
	for m := range listed {
		if !logged[m] {
			t.Errorf("the document lists what the code does not say: %s", m)
		}
	}
	if len(logged) == 0 {
		t.Error("no message found: this test shows nothing")
	}
}

// loggers are the folders whose packages may log: msalredis, and those of internal that it is built on.
func loggers(t *testing.T) []string {
	t.Helper()
	const module = "github.com/msal-redis/msal-redis-go/"
	all := []string{"msalredis"}
	for i := 0; i < len(all); i++ {
		eachSource(t, all[i], func(file *ast.File) {
			for _, s := range file.Imports {
				path, _ := strconv.Unquote(s.Path.Value)
				if folder := strings.TrimPrefix(path, module); strings.HasPrefix(folder, "internal/") && !slices.Contains(all, folder) {
					all = append(all, folder)
				}
			}
		})
	}
	if !slices.Contains(all, "internal/telemetry") {
		t.Fatalf("%v: the messages of internal packages are not looked at", all)
	}
	return all
}

// eachSource parses the Go files of a folder, tests aside.
func eachSource(t *testing.T, folder string, f func(*ast.File)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			f(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
