package records_test

import (
	"context"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// counters is a MeterProvider that counts.
type counters struct {
	embedded.MeterProvider
	mu sync.Mutex
	n  map[string]int64
}

func newCounters() *counters { return &counters{n: map[string]int64{}} }

func (c *counters) Meter(string, ...metric.MeterOption) metric.Meter { return countersMeter{c: c} }

type countersMeter struct {
	noop.Meter
	c *counters
}

func (m countersMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return counter{c: m.c, name: name}, nil
}

type counter struct {
	noop.Int64Counter
	c    *counters
	name string
}

func (c counter) Add(_ context.Context, n int64, opts ...metric.AddOption) {
	attributes := metric.NewAddConfig(opts).Attributes()
	name := c.name + " " + attributes.Encoded(attribute.DefaultEncoder())
	harness.Canary.Saw(name)
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.c.n[name] += n
}

// of is the sum of the counters whose name and attributes start so.
func (c *counters) of(start string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum int64
	for name, n := range c.n {
		if strings.HasPrefix(name, start) {
			sum += n
		}
	}
	return sum
}
