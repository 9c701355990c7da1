package dashboards_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	api "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

// documented has each metric of docs/observability.md once, with a value for each of its attributes, as Prometheus's
// exporter spells them. That the document has the library's names is tested in tests/observability.
func documented(t *testing.T) *prometheus.Registry {
	t.Helper()
	text, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	section, _, _ := strings.Cut(string(text), "\n## Spans")
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo())
	if err != nil {
		t.Fatal(err)
	}
	provider := metric.NewMeterProvider(metric.WithReader(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	meter, ctx := provider.Meter("m"), context.Background()
	rows := regexp.MustCompile("(?m)^\\| `(msalredis\\.[a-z_.]+)` \\| ([a-z -]+) \\| `([^`]+)` "+
		"\\|([^|]*)\\|").FindAllStringSubmatch(section, -1)
	for _, row := range rows {
		var as []attribute.KeyValue
		for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[4], -1) {
			as = append(as, attribute.String(key[1], "x"))
		}
		with := api.WithAttributes(as...)
		var err error
		switch row[2] {
		case "counter":
			var c api.Int64Counter
			c, err = meter.Int64Counter(row[1], api.WithUnit(row[3]))
			c.Add(ctx, 1, with)
		case "up-down counter":
			var c api.Int64UpDownCounter
			c, err = meter.Int64UpDownCounter(row[1], api.WithUnit(row[3]))
			c.Add(ctx, 1, with)
		case "gauge":
			var g api.Float64Gauge
			g, err = meter.Float64Gauge(row[1], api.WithUnit(row[3]))
			g.Record(ctx, 1, with)
		case "histogram":
			var h api.Float64Histogram
			h, err = meter.Float64Histogram(row[1], api.WithUnit(row[3]))
			h.Record(ctx, 1, with)
		default:
			t.Fatalf("%s is a %q", row[1], row[2])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil || len(rows) == 0 || len(families) != len(rows) ||
		len(rows) != strings.Count(section, "\n| `msalredis.") {
		t.Fatalf("%d metrics in the document, %d gathered: %v", len(rows), len(families), err)
	}
	return registry
}

// spelled is the names of the documented metrics, each with its labels.
func spelled(t *testing.T) map[string][]string {
	t.Helper()
	families, err := documented(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for _, f := range families {
		labels := []string{"job", "instance"}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if f.GetMetric()[0].GetHistogram() == nil {
			names[f.GetName()] = labels
			continue
		}
		for _, suffix := range []string{"_count", "_sum", "_bucket"} {
			names[f.GetName()+suffix] = append(slices.Clone(labels), "le")
		}
	}
	return names
}

// check holds an expression's names and labels to what there is, and returns the metrics it asks for.
func check(t *testing.T, where, expr string, names map[string][]string) (asked []string) {
	t.Helper()
	labels := []string{}
	for _, m := range regexp.MustCompile(`msalredis_[a-z_]+`).FindAllStringIndex(expr, -1) {
		name, rest := expr[m[0]:m[1]], expr[m[1]:]
		if have, ok := names[name]; ok {
			asked = append(asked, name)
			labels = append(labels, have...)
		} else if !isLabel(name, names) || strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "[") {
			t.Errorf("%s asks for %s, which does not exist", where, name)
		}
	}
	if len(asked) == 0 {
		t.Errorf("%s asks for no metric: %s", where, expr)
	}
	used := regexp.MustCompile(`[{,] *([a-z_]+) *[=!]~?`).FindAllStringSubmatch(expr, -1)
	for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(by[1], ",") {
			used = append(used, []string{"", strings.TrimSpace(name)})
		}
	}
	for _, u := range used {
		if !slices.Contains(labels, u[1]) {
			t.Errorf("%s uses the label %s, which none of %v has", where, u[1], asked)
		}
	}
	return asked
}

func isLabel(name string, names map[string][]string) bool {
	for _, labels := range names {
		if slices.Contains(labels, name) {
			return true
		}
	}
	return false
}

// The dashboard is JSON as Grafana reads it, every metric in it exists, and every metric that exists is in it.
func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	names := spelled(t)
	files, err := filepath.Glob("../../observe/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboard", err)
	}
	shown := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		type source struct{ Type, UID string }
		var d struct {
			UID, Title    string
			SchemaVersion int
			Templating    struct {
				List []struct {
					Name       string
					Datasource source
					Query      struct{ Query string }
				}
			}
			Panels []struct {
				ID          int
				Type, Title string
				Datasource  source
				GridPos     struct{ H, W, X, Y int }
				Targets     []struct{ RefID, Expr string }
			}
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(file, err)
		}
		if d.UID == "" || d.Title == "" || d.SchemaVersion == 0 || len(d.Panels) == 0 {
			t.Errorf("%s is not a dashboard", file)
		}
		for _, v := range d.Templating.List {
			check(t, "variable "+v.Name, v.Query.Query, names)
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("panel %q: its id is taken, or its place is off the grid", p.Title)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			if len(p.Targets) == 0 || p.Datasource != (source{"prometheus", "prometheus"}) {
				t.Errorf("panel %q has no query, or another data source than the provisioned one", p.Title)
			}
			for _, target := range p.Targets {
				for _, name := range check(t, p.Title, target.Expr, names) {
					shown[strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")] = true
				}
			}
		}
	}
	for name := range names {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !shown[base] {
			t.Errorf("no panel shows %s", base)
		}
	}
	provisioned, err := os.ReadFile("../../observe/grafana/provisioning/datasources/prometheus.yml")
	if err != nil || !strings.Contains(string(provisioned), "uid: prometheus\n") {
		t.Error("the data source that the panels name is not provisioned", err)
	}
}

// Every alert asks for metrics that exist, and is one that the document explains; and the reverse.
func TestAlertsNameMetricsThatExist(t *testing.T) {
	names := spelled(t)
	rules, err := os.ReadFile("../../observe/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`(?m)- alert: (\w+)\n\s+expr: (.*)$`).FindAllStringSubmatch(string(rules), -1)
	var listed []string
	for _, a := range alerts {
		check(t, a[1], a[2], names)
		listed = append(listed, a[1])
		if !strings.Contains(string(document), "| "+a[1]+" |") {
			t.Errorf("the document lacks the alert %s", a[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\| (MSAL\w+) \|`).FindAllStringSubmatch(string(document), -1) {
		if !slices.Contains(listed, m[1]) {
			t.Errorf("the document has the alert %s, which there is no rule for", m[1])
		}
	}
	if len(alerts) == 0 {
		t.Error("no alert found: this test shows nothing")
	}
}

// A counter that a process exports for the first time at 5,000 has not grown, as Prometheus sees it.
func TestCountersBeginAtZero(t *testing.T) {
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { nowhere.Close() })
	registry := registryOf(t, nowhere, func(*msalredis.Cache) {})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	begun := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if m.GetCounter() != nil && m.GetCounter().GetValue() == 0 {
					begun[f.GetName()+" "+l.GetValue()] = true
				}
			}
		}
	}
	// The values that the document lists for the attributes of a counter.
	text, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	rows := regexp.MustCompile("(?m)^\\| `(msalredis\\.[a-z_.]+)` \\| counter \\|[^|]*\\| `[^|]*\\|([^|]*)\\|")
	for _, row := range rows.FindAllStringSubmatch(string(text), -1) {
		name := strings.ReplaceAll(row[1], ".", "_") + "_total"
		for _, value := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			listed++
			if !begun[name+" "+value[1]] {
				t.Errorf("%s does not begin at 0 with %q", name, value[1])
			}
		}
	}
	if listed < 20 {
		t.Errorf("%d values found in the document: this test shows nothing", listed)
	}
	rules, err := os.ReadFile("../../observe/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(msalredis_\w+_total)\{\w+="(\w+)"\}`).FindAllStringSubmatch(string(rules), -1) {
		if !begun[m[1]+" "+m[2]] {
			t.Errorf("an alert asks for %s of %s, which does not begin at 0", m[1], m[2])
		}
	}
}
