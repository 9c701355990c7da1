package msalredis_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// canaries watches everything that the library writes in the whole run: log records, metrics, spans, errors and what
// its types print as. No token, secret, assertion, record or raw name of a partition may be in it.
type canaries struct {
	mu    sync.Mutex
	text  bytes.Buffer
	known map[string]string // what may not be in the text -> what it is
	said  map[string]bool   // what is in the text already
	// quoting are the errors with which MSAL quotes an answer, Entra ID's or one of the gate's: they may show what Entra ID says, and not
	// what it was sent.
	quoting *canaries

	reader  *sdkmetric.ManualReader
	meters  *sdkmetric.MeterProvider
	tracers *sdktrace.TracerProvider
}

var canary = newCanaries()

func newCanaries() *canaries {
	c := &canaries{known: map[string]string{}, said: map[string]bool{}, reader: sdkmetric.NewManualReader()}
	c.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader))
	c.tracers = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(spans{c}))
	c.quoting = &canaries{known: map[string]string{}, said: map[string]bool{}}
	c.forbid("client secret", clientSecret)
	c.quoting.forbid("client secret", clientSecret)
	return c
}

func (c *canaries) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

// tell writes all that was taken in.
func (c *canaries) tell(to io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.text.WriteTo(to)
}

// logger is what instances log to; every record is kept.
func (c *canaries) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// saw takes in text that the library made.
func (c *canaries) saw(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.said[text] {
		c.said[text] = true
		c.text.WriteString(text + "\n")
	}
}

// sawError takes in an error that a call through the library returned.
func (c *canaries) sawError(err error) {
	switch {
	case err == nil:
	case quotes(err):
		c.quoting.saw(err.Error())
	default:
		c.sawErrorText(err.Error())
	}
}

// sawErrorText leaves out what an error of net/http says, the URL, in which the tenant is.
func (c *canaries) sawErrorText(text string) { c.saw(tenantOfURL.ReplaceAllString(text, "$1-$2")) }

var tenantOfURL = regexp.MustCompile(`(https://[^/\s"]+/)[^/\s"]+(/oauth2/|/v2.0/)`)

// quotes tells whether an error of MSAL quotes the answer to a request.
func quotes(err error) bool {
	var call msalerrors.CallErr
	var bad msalerrors.InvalidJsonErr
	return errors.As(err, &call) || errors.As(err, &bad)
}

// collect takes in the metrics that there are: names and attributes. Numbers tell nothing.
func (c *canaries) collect(from sdkmetric.Reader) error {
	var all metricdata.ResourceMetrics
	err := from.Collect(context.Background(), &all)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			c.saw("metric " + m.Name + " " + m.Unit + " " + m.Description)
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					c.saw("metric " + m.Name + " " + p.Attributes.Encoded(attribute.DefaultEncoder()))
				}
			default: // the whole of it, numbers too
				c.saw(fmt.Sprintf("metric %s %+v", m.Name, data))
			}
		}
	}
	return err
}

// spans takes in every span that ends.
type spans struct{ c *canaries }

func (s spans) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (s spans) OnEnd(span sdktrace.ReadOnlySpan) {
	text := "span " + span.Name() + " " + span.Status().Description
	for _, a := range span.Attributes() {
		text += " " + string(a.Key) + "=" + a.Value.String()
	}
	for _, e := range span.Events() {
		text += " " + e.Name
		for _, a := range e.Attributes {
			text += " " + string(a.Key) + "=" + a.Value.String()
		}
	}
	s.c.saw(text)
}
func (s spans) Shutdown(context.Context) error   { return nil }
func (s spans) ForceFlush(context.Context) error { return nil }

// least is the length of what is looked for; what is shorter is found everywhere.
const least = 12

// forbid adds what may not be in the text, in the forms that a careless line would give it.
func (c *canaries) forbid(what string, secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range secrets {
		if len(s) < least {
			continue
		}
		quoted := strconv.Quote(s)
		twice := strconv.Quote(quoted[1 : len(quoted)-1]) // an error that quotes it, in a log that quotes the error
		marshalled, _ := json.Marshal(s)
		for _, form := range []string{s, url.QueryEscape(s), quoted[1 : len(quoted)-1], string(marshalled[1 : len(marshalled)-1]), twice[1 : len(twice)-1]} {
			c.known[form] = what
		}
	}
}

// issued forbids what an emulator has given out or was sent, and MSAL's names of on-behalf-of partitions.
func (c *canaries) issued(secrets []string) {
	c.forbid("secret or token", secrets...)
	for _, s := range secrets {
		if strings.Count(s, ".") == 2 {
			h := sha256.Sum256([]byte(s))
			c.forbid("partition", base64.StdEncoding.EncodeToString(h[:]), base64.URLEncoding.EncodeToString(h[:]))
		}
	}
}

// named forbids what a token request says of whom it is for: the raw names of partitions are made of it. Of what it sends no answer may
// show anything.
func (c *canaries) named(r entratest.Request) {
	for _, field := range []string{"client_secret", "client_assertion", "assertion", "refresh_token", "code", "code_verifier", "user_federated_identity_credential"} {
		c.quoting.forbid(field+" that was sent", r.Form[field]...)
	}
	if strings.Count(r.Tenant, "-") == 4 { // else "common" and the like
		c.forbid("tenant", r.Tenant)
		c.forbid("partition", r.ClientID+"_"+r.Tenant+"_AppTokenCache")
	}
	c.forbid("partition", r.User)
}

func (c *canaries) user(u entratest.User) {
	c.forbid("user", u.ObjectID, u.Username)
	c.forbid("partition", u.HomeAccountID())
}

// records forbids what stands in Redis, sealed as it is.
func (c *canaries) records(rdb redis.UniversalClient, keys []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, key := range keys {
		var values []string
		switch {
		case strings.HasSuffix(key, ":tokens"):
			values = rdb.HVals(ctx, key).Val()
		case strings.HasSuffix(key, ":response"), strings.HasSuffix(key, ":pause"):
			values = []string{rdb.Get(ctx, key).Val()}
		}
		for _, v := range values {
			if len(v) > headerSize+least { // of a tombstone there is less, and nothing sealed
				sealed := v[len(headOf(v)):]
				c.forbid("record", sealed, base64.StdEncoding.EncodeToString([]byte(sealed)), base64.RawURLEncoding.EncodeToString([]byte(sealed)))
			}
		}
	}
}

// leaked are the secrets found in the text: what they are, by hash, and the start of the line they are in. The test's
// own log must not show them either.
func (c *canaries) leaked() (leaks []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// By their ends: what is looked for shares beginnings ("eyJ0eXAiOiJKV1Qi"), and a whole run knows tens of thousands.
	ends := map[[least]byte][]string{}
	for s := range c.known {
		end := [least]byte([]byte(s[len(s)-least:]))
		ends[end] = append(ends[end], s)
	}
	text := c.text.Bytes()
	found := map[string]bool{}
	for i := least; i <= len(text); i++ {
		for _, s := range ends[[least]byte(text[i-least:i])] {
			if found[s] || !bytes.HasSuffix(text[:i], []byte(s)) {
				continue
			}
			found[s] = true
			start := text[bytes.LastIndexByte(text[:i-len(s)], '\n')+1 : i-len(s)]
			leaks = append(leaks, fmt.Sprintf("%s, %d bytes, sha256 %s, after %q", c.known[s], len(s), hashOf(s), words.ReplaceAll(start, []byte("..."))))
		}
	}
	if c.quoting != nil {
		leaks = append(leaks, c.quoting.leaked()...)
	}
	return leaks
}

var words = regexp.MustCompile(`[^\s"=:,]{12,}`)

func (c *canaries) verdict() int {
	leaks := c.leaked()
	for _, l := range leaks {
		fmt.Println("FAIL: the library wrote a", l)
	}
	return min(len(leaks), 1)
}

// The canary finds a secret by whatever way it gets out.
func TestCanarySeesWhatLeaks(t *testing.T) {
	ctx := context.Background()
	const planted = `eyJ0eXAi.planted "secret"/of+thirty.bytes`
	for name, plant := range map[string]func(c *canaries){
		"log":         func(c *canaries) { c.logger().Debug("x", "token", planted) },
		"log, struct": func(c *canaries) { c.logger().Info("x", "v", struct{ Token string }{planted}) },
		"log, error":  func(c *canaries) { c.logger().Warn("x", "error", fmt.Errorf("y: %q", planted)) },
		"error":       func(c *canaries) { c.sawError(errors.New("refused: " + planted + "!")) },
		"error, URL": func(c *canaries) {
			c.sawError(errors.New("Post https://a.b/tenant/oauth2/v2.0/token?x=" + url.QueryEscape(planted)))
		},
		"error that quotes an answer": func(c *canaries) {
			c.named(entratest.Request{Form: url.Values{"refresh_token": {planted}}})
			c.sawError(fmt.Errorf("y: %w", msalerrors.CallErr{Err: errors.New("{\"error_description\":" + strconv.Quote(planted) + "}")}))
		},
		"error that quotes an answer, client secret": func(c *canaries) {
			c.sawError(msalerrors.InvalidJsonErr{Err: errors.New("raw message was: " + clientSecret)})
		},
		"text, JSON":  func(c *canaries) { b, _ := json.Marshal(planted); c.saw(string(b)) },
		"text at end": func(c *canaries) { _, _ = c.Write([]byte(planted)) },
		"counter": func(c *canaries) {
			n, _ := c.meters.Meter("m").Int64Counter("n")
			n.Add(ctx, 1, metric.WithAttributes(attribute.String("user", planted)))
			_ = c.collect(c.reader)
		},
		"histogram": func(c *canaries) {
			n, _ := c.meters.Meter("m").Float64Histogram("n")
			n.Record(ctx, 1, metric.WithAttributes(attribute.String("user", planted)))
			_ = c.collect(c.reader)
		},
		"span name": func(c *canaries) { _, s := c.tracers.Tracer("t").Start(ctx, planted); s.End() },
		"span attribute": func(c *canaries) {
			_, s := c.tracers.Tracer("t").Start(ctx, "s", trace.WithAttributes(attribute.String("user", planted)))
			s.End()
		},
		"span error": func(c *canaries) {
			_, s := c.tracers.Tracer("t").Start(ctx, "s")
			s.RecordError(errors.New(planted))
			s.End()
		},
	} {
		c := newCanaries()
		c.forbid("secret", planted)
		c.logger().Info("nothing", "hash", hashOf(planted))
		if leaks := c.leaked(); len(leaks) > 0 || c.verdict() != 0 {
			t.Errorf("%s: found before it was there: %v", name, leaks)
		}
		plant(c)
		leaks := c.leaked()
		if len(leaks) == 0 {
			t.Errorf("%s: not found", name)
		}
		for _, l := range leaks {
			if strings.Contains(l, "planted") {
				t.Errorf("%s: the report shows it: %s", name, l)
			}
		}
	}
}

// indiscreet is a caller's Serializer whose errors quote what was to be sealed.
type indiscreet struct{}

func (indiscreet) Seal(plaintext, _ []byte) ([]byte, error) {
	return nil, fmt.Errorf("cannot seal %s", plaintext)
}
func (indiscreet) Open(sealed, _ []byte) ([]byte, error) { return sealed, nil }

// What an instance writes does reach the canary: log, metrics and spans.
func TestCanaryHearsInstances(t *testing.T) {
	w := newWorld(t)
	c := newCanaries()
	o := options(w.prefix)
	o.Logger, o.MeterProvider, o.TracerProvider = c.logger(), c.meters, c.tracers
	i := w.instanceOn(w.client(), indiscreet{}, o)
	must(t)(i.app().AcquireTokenByCredential(context.Background(), []string{graph}))
	if err := c.collect(c.reader); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cannot seal", "metric msalredis.token_request.duration", "client_credentials", "metric msalredis.lookups", "span msalredis.token_request"} {
		if !strings.Contains(c.text.String(), want) {
			t.Errorf("the canary has not heard: %s", want)
		}
	}
	if len(c.leaked()) > 0 {
		t.Error("something leaks before the canary knows the tokens")
	}
	c.issued(w.entra.Secrets())
	if len(c.leaked()) == 0 {
		t.Error("the canary has not found the token that the log quotes")
	}
}

// Whatever is printed of the library's types, in any way, holds no secret; nor do the errors of reading what is wrong.
func TestNothingPrintsSecrets(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	i := w.instance()
	app := i.app()
	i.signIn(app, u)
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	must(t)(app.AcquireTokenOnBehalfOf(ctx, w.assertion(t, u), []string{mailScope}))

	c := newCanaries()
	_, material, _ := strings.Cut(w.keys, ":")
	raw, err := base64.StdEncoding.DecodeString(material)
	if err != nil {
		t.Fatal(err)
	}
	c.forbid("sealing key", material, strings.TrimRight(material, "="), fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw), fmt.Sprint(raw))
	c.issued(w.entra.Secrets())
	c.user(u)
	for _, r := range w.entra.Requests() {
		c.named(r)
	}
	c.records(w.redis.admin, w.keysOf())

	keys, err := serializer.ParseKeys(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	locker := lock.New(i.rdb, nil)
	lease, err := locker.TryAcquire(ctx, w.prefix+":{x}:lock")
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := locker.Subscribe(ctx, w.prefix+":{x}:lock")
	if err != nil {
		t.Fatal(err)
	}
	// What has goroutines is printed when they have ended: printing reads without locks.
	if err := errors.Join(lease.Release(ctx), locker.Close()); err != nil {
		t.Fatal(err)
	}
	i.close()
	entries := w.records()
	var plain []msaldoc.Entry
	for _, r := range entries {
		plain = append(plain, r.Entry)
		c.forbid("entry", string(r.Raw))
	}
	if len(plain) == 0 {
		t.Fatal("no entry: this test shows nothing")
	}
	values := map[string][]any{
		"msalredis.Cache":       {i.tokens},
		"msalredis.Options":     {}, // below
		"serializer.Key":        {keys[0], &keys[0], keys},
		"msaldoc.Entry":         {plain[0], &plain[0], plain},
		"serializer.Serializer": {w.sealer(w.keys), serializer.Plaintext(), serializer.FromAEAD(keyed{raw})},
		"serializer.AEAD":       {}, // the caller's
		"lock.Locker":           {locker},
		"lock.Lease":            {lease, lease.Context()},
		"lock.Options":          {lock.Options{}},
		"lock.Subscription":     {subscription},
		"Cache.Transport":       {i.tokens.Transport(nil)},
		"Cache.HTTPClient":      {i.tokens.HTTPClient()},
	}
	for _, dir := range []string{"msalredis", "serializer", "lock"} {
		for _, name := range exportedTypes(t, dir) {
			if _, ok := values[name]; !ok {
				t.Errorf("%s is not among what is printed", name)
			}
		}
	}
	for _, list := range values {
		for _, v := range list {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				c.saw(fmt.Sprintf(verb, v))
			}
			slog.New(slog.NewTextHandler(c, nil)).Info("x", "v", v)
			slog.New(slog.NewJSONHandler(c, nil)).Info("x", "v", v)
		}
	}

	// Other verbs would look into loggers and providers that are in use.
	c.saw(fmt.Sprintf("%v %+v", *options(w.prefix), options(w.prefix)))

	// Errors of what cannot be read.
	for n, bad := range []string{w.keys + "x", material, "k1:" + material[1:], "k1:" + material + "," + w.keys, strings.Replace(w.keys, ":", ";", 1), "k;1:" + material, material + ":k1"} {
		_, err := serializer.ParseKeys(bad)
		if err == nil {
			parsed, _ := serializer.ParseKeys(bad)
			_, err = serializer.NewEncrypted(parsed...)
		}
		if err == nil {
			t.Errorf("bad keys %d are accepted", n)
			continue
		}
		c.sawError(err)
	}
	s := w.sealer(w.keys)
	for _, r := range entries {
		for _, bad := range [][]byte{[]byte(r.value[len(headOf(r.value)):]), []byte(r.value[len(headOf(r.value))+1:]), r.Raw} {
			if _, err := s.Open(bad, []byte("elsewhere")); err == nil {
				t.Error("a value opens elsewhere")
			} else {
				c.sawError(err)
			}
		}
		for _, bad := range [][]byte{r.Raw, r.Raw[:len(r.Raw)-1], append([]byte("x"), r.Raw...)} {
			if _, err := layout.DecodeEntry(bad); err == nil {
				t.Error("JSON is decoded as an entry")
			} else {
				c.sawError(err)
			}
		}
		for _, bad := range []string{`{"AccessToken":{"x":` + string(r.Raw[:len(r.Raw)-1]), `[` + string(r.Raw) + `]`, string(r.Raw) + `{}`} {
			if _, err := msaldoc.Parse([]byte(bad)); err == nil {
				t.Error("a broken document is parsed")
			} else {
				c.sawError(err)
			}
		}
		if _, err := msaldoc.NewEntry(r.Section, r.Key, r.Raw[:len(r.Raw)-1]); err == nil {
			t.Error("a broken entry is made")
		} else {
			c.sawError(err)
		}
	}
	if text := c.text.String(); !strings.Contains(text, "Key(k1)") || !strings.Contains(text, "Entry(") {
		t.Error("nothing was printed: this test shows nothing")
	}
	for _, l := range c.leaked() {
		t.Errorf("printed: %s", l)
	}
}

// keyed is a caller's AEAD that holds a key.
type keyed struct{ Secret []byte }

func (keyed) Encrypt(plaintext, _ []byte) ([]byte, error)  { return plaintext, nil }
func (keyed) Decrypt(ciphertext, _ []byte) ([]byte, error) { return ciphertext, nil }

// exportedTypes are those of a package, as package.Type.
func exportedTypes(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				for _, s := range g.Specs {
					if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() {
						names = append(names, dir+"."+s.Name.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no type in %s: this test shows nothing", dir)
	}
	return names
}

// Look-ups are counted by where the partition was found.
func TestLookupsAreCounted(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	with := func(o *msalredis.Options) { o.MeterProvider = meters }
	app := w.instance(with).app()
	for range 10 {
		must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	}
	var m metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &m); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, s := range m.ScopeMetrics {
		for _, metric := range s.Metrics {
			if metric.Name != "msalredis.lookups" {
				continue
			}
			for _, p := range metric.Data.(metricdata.Sum[int64]).DataPoints {
				v, _ := p.Attributes.Value("msalredis.found")
				got[v.AsString()] = p.Value
			}
		}
	}
	// The first call looks twice before it has a token: before the request, and before MSAL writes. The second takes note
	// of what the first has written.
	if got["nowhere"] != 2 || got["process"] != 1 || got["memory"] != 8 {
		t.Errorf("look-ups: %v, want 2 nowhere, 1 in the process and 8 in MSAL's memory", got)
	}
}
