package msalredis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	otelmetric "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// observed collects the metrics and spans of an instance.
type observed struct {
	reader *metric.ManualReader
	spans  *tracetest.InMemoryExporter
	traces *sdktrace.TracerProvider
	meters *metric.MeterProvider
}

func newObserved() *observed {
	o := &observed{reader: metric.NewManualReader(), spans: tracetest.NewInMemoryExporter()}
	o.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(o.spans))
	o.meters = metric.NewMeterProvider(metric.WithReader(o.reader))
	return o
}

// text is everything that metrics and spans say.
func (o *observed) text() (string, error) {
	var m metricdata.ResourceMetrics
	err := o.reader.Collect(context.Background(), &m)
	metrics, err2 := json.Marshal(m.ScopeMetrics)
	spans, err3 := json.Marshal(o.spans.GetSpans())
	return string(metrics) + string(spans), errors.Join(err, err2, err3)
}

// The canary itself: a secret that somebody logs, or says in an error, a metric or a span, does not go unseen.
func TestCanarySeesWhatLeaks(t *testing.T) {
	const secret = "a-secret-that-must-not-be-seen"
	ctx := context.Background()
	for name, leak := range map[string]func(*canaries){
		"a log record": func(c *canaries) { c.logger().Info("x", "token", secret) },
		"an error":     func(c *canaries) { c.saw(fmt.Errorf("no: %s", secret).Error()) },
		"a metric": func(c *canaries) {
			o := newObserved()
			n, _ := o.meters.Meter("m").Int64Counter("n")
			n.Add(ctx, 1, otelmetric.WithAttributes(attribute.String("token", secret)))
			text, _ := o.text()
			c.saw(text)
		},
		"a span": func(c *canaries) {
			o := newObserved()
			_, span := o.traces.Tracer("t").Start(ctx, "x")
			span.SetAttributes(attribute.String("token", secret))
			span.End()
			text, _ := o.text()
			c.saw(text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &canaries{known: map[string]bool{}}
			c.secrets([]string{secret})
			leak(c)
			if leaks, _ := c.leaked(); len(leaks) != 1 {
				t.Errorf("%d leaks seen, want 1", len(leaks))
			}
		})
	}
}

// Whatever is printed, in whichever way, no key, token or partition key comes out.
func TestNothingPrintsSecrets(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	i := w.instance()
	app := i.app()
	i.signIn(app, u)
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	keys, err := serializer.ParseKeys(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimPrefix(w.keys, "k1:")
	doc := `{"RefreshToken":{"k":{"home_account_id":"` + u.HomeAccountID() + `","environment":"e","client_id":"c","credential_type":"RefreshToken","secret":"` + secret + `"}}}`
	entries, err := serializer.ParseDocument([]byte(doc))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	locker := lock.New(i.rdb, nil)
	t.Cleanup(func() { locker.Close() })
	lease, err := locker.TryAcquire(ctx, w.prefix+":printed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release(ctx) })
	c := &canaries{known: map[string]bool{}}
	c.secrets(append(w.entra.Secrets(), secret, u.HomeAccountID(), clientID+"_"+tenant+"_AppTokenCache"))
	for _, v := range []any{
		i.tokens, i.http.Transport, keys[0], keys, &keys[0], entries[0], entries, &entries[0],
		w.sealer(w.keys), serializer.Plaintext(), locker, lease,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			c.saw(fmt.Sprintf(verb, v))
		}
		c.logger().Info("printed", "value", v)
		if text, err := json.Marshal(v); err == nil {
			c.saw(string(text))
		}
	}
	c.saw(fmt.Sprintf("%v %+v", *options(w.prefix), options(w.prefix)))
	_, err = serializer.ParseKeys("k:" + secret + "!")
	c.saw(fmt.Sprint(err))
	_, err = serializer.ParseKeys(w.keys + "," + w.keys)
	c.saw(fmt.Sprint(err))
	leaks, bytes := c.leaked()
	if len(leaks) > 0 {
		t.Errorf("printed: %v", leaks)
	}
	if bytes == 0 {
		t.Error("nothing was printed: this test shows nothing")
	}
}

// Look-ups are counted by where the partition was found.
func TestLookupsAreCounted(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	o := newObserved()
	with := func(opts *msalredis.Options) { opts.MeterProvider = o.meters }
	app := w.instance(with).app()
	for range 10 {
		must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	}
	var m metricdata.ResourceMetrics
	if err := o.reader.Collect(ctx, &m); err != nil {
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
