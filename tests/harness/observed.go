package harness

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Observed collects the metrics and spans of an instance.
type Observed struct {
	reader *sdkmetric.ManualReader
	Spans  *tracetest.InMemoryExporter
	Traces *sdktrace.TracerProvider
	meters *sdkmetric.MeterProvider
}

func (o *Observed) points(t *testing.T) []Point {
	t.Helper()
	var m metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &m); err != nil {
		t.Fatal(err)
	}
	var all []Point
	for _, s := range m.ScopeMetrics {
		for _, x := range s.Metrics {
			add := func(kind string, as attribute.Set, v float64) {
				all = append(all, Point{x.Name, x.Unit, kind, as, v})
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

func newObserved() *Observed {
	o := &Observed{reader: sdkmetric.NewManualReader(), Spans: tracetest.NewInMemoryExporter()}
	o.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(o.Spans), sdktrace.WithSpanProcessor(spans{Canary}))
	o.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader))
	return o
}

// Point is one series of a metric: a sum's or gauge's value, or a histogram's count.
type Point struct {
	Name, Unit, Kind string
	Attributes       attribute.Set
	value            float64
}

// Census is what instances have measured: every series that is not 0.
type Census struct {
	mu  sync.Mutex
	All map[string]Point
}

// Of is the value of a metric's series with these attributes, "key=value", summed. All that it reads is kept.
func (c *Census) Of(t *testing.T, i *Instance, name string, attributes ...string) (sum float64) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range i.Seen.points(t) {
		if p.value != 0 {
			c.All[p.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p
		}
		if p.Name != name {
			continue
		}
		ok := true
		for _, want := range attributes {
			key, value, _ := strings.Cut(want, "=")
			v, has := p.Attributes.Value(attribute.Key(key))
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

// Is demands a value. It waits where that is still less: what calls do behind their callers is counted after these have
// their answers.
func (c *Census) Is(t *testing.T, i *Instance, want float64, name string, attributes ...string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%s %v is at least %v", name, attributes, want), func() bool {
		return c.Of(t, i, name, attributes...) >= want
	})
	if got := c.Of(t, i, name, attributes...); got != want {
		t.Errorf("%s %v is %v, want %v", name, attributes, got, want)
	}
}
