package dashboards_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// server is a Prometheus with the alerts of the folder observe, which scrapes some targets.
type server struct {
	t   *testing.T
	url string
}

// program finds one of Prometheus's programs. CI need not have them: MSALREDIS_REQUIRE_PROMETHEUS=1 makes it a failure.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("MSALREDIS_REQUIRE_PROMETHEUS") != "" {
			t.Fatal(err)
		}
		t.Skipf("%s is missing (Debian: apt-get install prometheus)", name)
	}
	return path
}

func start(t *testing.T, targets map[string]*prometheus.Registry) *server {
	t.Helper()
	binary := program(t, "prometheus")
	dir := t.TempDir()
	rules, err := filepath.Abs("../../observe/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 200ms, evaluation_interval: 200ms}\nrule_files: "+
		"[%s]\nscrape_configs:\n", rules)
	for job, registry := range targets {
		target := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		t.Cleanup(target.Close)
		config += fmt.Sprintf("- {job_name: %s, metrics_path: /, static_configs: [{targets: [%q]}]}\n", job,
			target.Listener.Addr())
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	p := exec.Command(binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address)
	p.Stdout, p.Stderr = &log, &log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return &server{t: t, url: "http://" + address}
}

// get asks Prometheus's API, which may not be up yet.
func (s *server) get(path string, v any) error {
	resp, err := http.Get(s.url + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s", answer.Error)
	}
	return json.Unmarshal(answer.Data, v)
}

func (s *server) query(expr string) (results int, err error) {
	var data struct{ Result []json.RawMessage }
	err = s.get("/api/v1/query?query="+url.QueryEscape(expr), &data)
	return len(data.Result), err
}

// eventually waits until what is asked of Prometheus is so.
func (s *server) eventually(what string, f func() error) {
	s.t.Helper()
	limit := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// registryOf has the metrics of a Cache on rdb after some use.
func registryOf(t *testing.T, rdb *redis.Client, use func(*msalredis.Cache)) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		t.Fatal(err)
	}
	provider := metric.NewMeterProvider(metric.WithReader(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	key, err := serializer.GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := msalredis.New(rdb, sealer, &msalredis.Options{
		Telemetry: msalredisotel.Telemetry{MeterProvider: provider},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tokens.Close() })
	use(tokens)
	return registry
}

// working is what a Cache measures that has brought tokens.
func working(t *testing.T) *prometheus.Registry {
	t.Helper()
	return registryOf(t, redistest.Start(t).Client(), func(tokens *msalredis.Cache) {
		entra, err := entratest.NewServer(nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { entra.Close() })
		entra.AddApp(entratest.App{ClientID: "observed", Secret: "s3cret"})
		cred, err := confidential.NewCredFromSecret("s3cret")
		if err != nil {
			t.Fatal(err)
		}
		app, err := confidential.New(entra.Authority(entratest.DefaultTenant), "observed", cred,
			confidential.WithCache(tokens), confidential.WithHTTPClient(
				&http.Client{Transport: tokens.Transport(entra.Transport())}))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := app.AcquireTokenByCredential(t.Context(),
				[]string{"https://graph.microsoft.com/.default"}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Each alert has fired, and been quiet, over made-up series of its trouble.
func TestEachAlertFires(t *testing.T) {
	if out, err := exec.Command(program(t, "promtool"), "test", "rules",
		"../../observe/prometheus/alerts_test.yml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	rules, err := os.ReadFile("../../observe/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile("../../observe/prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`(?m)- alert: (\w+)$`).FindAllStringSubmatch(string(rules), -1)
	for _, a := range alerts {
		if !regexp.MustCompile(`alertname: ` + a[1] + `\n\s+exp_alerts:\s*(\[\{|\n)`).Match(cases) {
			t.Errorf("nothing makes %s fire", a[1])
		}
		if !bytes.Contains(cases, []byte("alertname: "+a[1]+"}")) {
			t.Errorf("nothing shows that %s is quiet while all is well", a[1])
		}
	}
	if len(alerts) == 0 {
		t.Error("no alert found: this test shows nothing")
	}
}

// promtool finds nothing to say, and a real Prometheus evaluates every alert and every expression of the dashboard: of
// the metrics that the document lists, each gives something; of a Cache at work, those of what it does.
func TestPrometheusEvaluatesAll(t *testing.T) {
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "config", "../../observe/prometheus/prometheus.yml"},
		{"check", "rules", "../../observe/prometheus/alerts.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	s := start(t, map[string]*prometheus.Registry{"documented": documented(t), "working": working(t)})
	s.eventually("the targets are up", func() error {
		// Two samples of each: rate wants them.
		if n, err := s.query("count_over_time(up[1m]) >= 2 and up == 1"); err != nil || n != 2 {
			return fmt.Errorf("%d of 2, %w", n, err)
		}
		return nil
	})
	data, err := os.ReadFile("../../observe/grafana/dashboards/msalredis.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	asked, working := 0, 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			asked++
			expr := func(job string) string {
				return strings.NewReplacer("$job", job, "$__rate_interval", "1m").Replace(target.Expr)
			}
			if strings.Contains(expr(""), "$") && !strings.Contains(expr(""), `=~""`) {
				t.Errorf("%s: an unknown variable in %s", p.Title, target.Expr)
			}
			if n, err := s.query(expr(".*")); err != nil || n == 0 {
				t.Errorf("%s: %d results, %v: %s", p.Title, n, err, expr(".*"))
			}
			if n, err := s.query(expr("working")); err == nil && n > 0 {
				working++
			}
		}
	}
	if asked == 0 || working < asked/2 {
		t.Errorf("%d expressions, of which %d show something of a Cache at work", asked, working)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	s.eventually("the alerts are evaluated", func() error {
		if err := s.get("/api/v1/rules", &rules); err != nil {
			return err
		}
		n := 0
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				n++
				if r.Health != "ok" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		if n == 0 {
			return fmt.Errorf("there are none")
		}
		return nil
	})
}
