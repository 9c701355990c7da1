package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
)

// The canary finds a secret by whatever way it gets out.
func TestCanarySeesWhatLeaks(t *testing.T) {
	ctx := context.Background()
	const planted = `eyJ0eXAi.planted "secret"/of+thirty.bytes`
	for name, plant := range map[string]func(c *Canaries){
		"log":         func(c *Canaries) { c.Logger().Debug("x", "token", planted) },
		"log, struct": func(c *Canaries) { c.Logger().Info("x", "v", struct{ Token string }{planted}) },
		"log, error":  func(c *Canaries) { c.Logger().Warn("x", "error", fmt.Errorf("y: %q", planted)) },
		"error":       func(c *Canaries) { c.SawError(errors.New("refused: " + planted + "!")) },
		"error, URL": func(c *Canaries) {
			c.SawError(errors.New("Post https://a.b/tenant/oauth2/v2.0/token?x=" + url.QueryEscape(planted)))
		},
		"error that quotes an answer": func(c *Canaries) {
			c.Named(entratest.Request{Form: url.Values{"refresh_token": {planted}}})
			said := errors.New("{\"error_description\":" + strconv.Quote(planted) + "}")
			c.SawError(fmt.Errorf("y: %w", msalerrors.CallErr{Err: said}))
		},
		"error that quotes an answer, client secret": func(c *Canaries) {
			c.SawError(msalerrors.InvalidJsonErr{Err: errors.New("raw message was: " + ClientSecret)})
		},
		"text, JSON":  func(c *Canaries) { b, _ := json.Marshal(planted); c.Saw(string(b)) },
		"text at end": func(c *Canaries) { _, _ = c.Write([]byte(planted)) },
		"counter": func(c *Canaries) {
			n, _ := c.meters.Meter("m").Int64Counter("n")
			n.Add(ctx, 1, metric.WithAttributes(attribute.String("user", planted)))
			_ = c.collect(c.reader)
		},
		"histogram": func(c *Canaries) {
			n, _ := c.meters.Meter("m").Float64Histogram("n")
			n.Record(ctx, 1, metric.WithAttributes(attribute.String("user", planted)))
			_ = c.collect(c.reader)
		},
		"span name": func(c *Canaries) { _, s := c.tracers.Tracer("t").Start(ctx, planted); s.End() },
		"span attribute": func(c *Canaries) {
			_, s := c.tracers.Tracer("t").Start(ctx, "s", trace.WithAttributes(attribute.String("user", planted)))
			s.End()
		},
		"span error": func(c *Canaries) {
			_, s := c.tracers.Tracer("t").Start(ctx, "s")
			s.RecordError(errors.New(planted))
			s.End()
		},
	} {
		c := NewCanaries()
		c.Forbid("secret", planted)
		c.Logger().Info("nothing", "hash", HashOf(planted))
		if leaks := c.Leaked(); len(leaks) > 0 || c.verdict() != 0 {
			t.Errorf("%s: found before it was there: %v", name, leaks)
		}
		plant(c)
		leaks := c.Leaked()
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

// What an instance writes does reach the canary: log, metrics and spans.
func TestCanaryHearsInstances(t *testing.T) {
	w := NewWorld(t)
	c := NewCanaries()
	o := Options(w.Prefix)
	o.Logger = c.Logger()
	o.Telemetry = msalredisotel.Telemetry{MeterProvider: c.meters, TracerProvider: c.tracers}
	i := w.InstanceOn(w.Client(), indiscreet{}, o)
	Must(t)(i.App().AcquireTokenByCredential(context.Background(), []string{GraphScope}))
	if err := c.collect(c.reader); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cannot seal", "metric msalredis.token_request.duration", "client_credentials",
		"metric msalredis.lookups", "span msalredis.token_request"} {
		if !strings.Contains(c.text.String(), want) {
			t.Errorf("the canary has not heard: %s", want)
		}
	}
	if len(c.Leaked()) > 0 {
		t.Error("something leaks before the canary knows the tokens")
	}
	c.Issued(w.Entra.Secrets())
	if len(c.Leaked()) == 0 {
		t.Error("the canary has not found the token that the log quotes")
	}
}

// indiscreet is a caller's Serializer whose errors quote what was to be sealed.
type indiscreet struct{}

func (indiscreet) Seal(plaintext, _ []byte) ([]byte, error) {
	return nil, fmt.Errorf("cannot seal %s", plaintext)
}
func (indiscreet) Open(sealed, _ []byte) ([]byte, error) { return sealed, nil }
