package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"

	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Canaries watches everything that the library writes in the whole run: log records, metrics, spans, errors and what
// its types print as. No token, secret, assertion, record or raw name of a partition may be in it.
type Canaries struct {
	mu    sync.Mutex
	text  bytes.Buffer
	known map[string]string // what may not be in the text -> what it is
	said  map[string]bool   // what is in the text already
	// quoting are the errors with which MSAL quotes an answer, Entra ID's or one of the gate's: they may show what Entra
	// ID says, and not what it was sent.
	quoting *Canaries

	reader  *sdkmetric.ManualReader
	meters  *sdkmetric.MeterProvider
	tracers *sdktrace.TracerProvider
}

func (c *Canaries) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

// tell writes all that was taken in.
func (c *Canaries) tell(to io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.text.WriteTo(to)
}

// Logger is what instances log to; every record is kept.
func (c *Canaries) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Heard is all that was taken in.
func (c *Canaries) Heard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// Saw takes in text that the library made.
func (c *Canaries) Saw(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.said[text] {
		c.said[text] = true
		c.text.WriteString(text + "\n")
	}
}

// SawError takes in an error that a call through the library returned.
func (c *Canaries) SawError(err error) {
	switch {
	case err == nil:
	case quotes(err):
		c.quoting.Saw(err.Error())
	default:
		c.sawErrorText(err.Error())
	}
}

// sawErrorText leaves out what an error of net/http says, the URL, in which the tenant is.
func (c *Canaries) sawErrorText(text string) { c.Saw(tenantOfURL.ReplaceAllString(text, "$1-$2")) }

// collect takes in the metrics that there are: names and attributes. Numbers tell nothing.
func (c *Canaries) collect(from sdkmetric.Reader) error {
	var all metricdata.ResourceMetrics
	err := from.Collect(context.Background(), &all)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			c.Saw("metric " + m.Name + " " + m.Unit + " " + m.Description)
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					c.Saw("metric " + m.Name + " " + p.Attributes.Encoded(attribute.DefaultEncoder()))
				}
			default: // the whole of it, numbers too
				c.Saw(fmt.Sprintf("metric %s %+v", m.Name, data))
			}
		}
	}
	return err
}

var Canary = NewCanaries()

func NewCanaries() *Canaries {
	c := &Canaries{known: map[string]string{}, said: map[string]bool{}, reader: sdkmetric.NewManualReader()}
	c.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader))
	c.tracers = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithSpanProcessor(spans{c}))
	c.quoting = &Canaries{known: map[string]string{}, said: map[string]bool{}}
	c.Forbid("client secret", ClientSecret)
	c.quoting.Forbid("client secret", ClientSecret)
	return c
}

// spans takes in every span that ends.
type spans struct{ c *Canaries }

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
	s.c.Saw(text)
}
func (s spans) Shutdown(context.Context) error   { return nil }
func (s spans) ForceFlush(context.Context) error { return nil }

var tenantOfURL = regexp.MustCompile(`(https://[^/\s"]+/)[^/\s"]+(/oauth2/|/v2.0/)`)

// quotes tells whether an error of MSAL quotes the answer to a request.
func quotes(err error) bool {
	var call msalerrors.CallErr
	var bad msalerrors.InvalidJsonErr
	return errors.As(err, &call) || errors.As(err, &bad)
}

func HashOf(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:8])
}
