package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func TestMain(m *testing.M) { standin.TestMain(m, example, main) }

func newTestWorld(t *testing.T) *standin.World {
	t.Helper()
	return worldOn(t, redistest.Start(t).URL())
}

func worldOn(t *testing.T, url string) *standin.World {
	t.Helper()
	e := example
	e.RedisURL, e.Cache = url, nil // this process has no Cache, and its tests run side by side
	w, err := standin.Open(e, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	w.Set("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // a second for each process, by default
	return w
}

func newInstance(t *testing.T, w *standin.World) *instance {
	t.Helper()
	i, err := startInstance(t.Context(), w.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.kill)
	return i
}

func TestScaleOutToTenOneTokenRequestPerToken(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		w := worldOn(t, url)
		// Entra ID answers nobody until four cold instances ask for the same tokens.
		release := make(chan struct{})
		w.Entra.OnTokenRequest(func(entratest.Request) { <-release })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		o, err := scaleOut(ctx, w.Environ(), scaling{
			instances: 10,
			goroutine: 4,
			kill:      func(n int) bool { return n > 4 && n%2 == 1 },
			started: func(n int) {
				if n == 4 {
					close(release)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rounds of all functions, %d lost with %d killed instances", o.done, o.lost, o.killed)
		if o.failed != nil {
			t.Errorf("on instances that live: %v", o.failed)
		}
		if o.killed != 3 {
			t.Errorf("%d instances were killed, want 3", o.killed)
		}
		perToken := map[string]int{}
		for _, r := range w.Entra.Requests() {
			perToken[r.Scope]++
		}
		if len(perToken) != 2 || w.Entra.Count() != 2 {
			t.Errorf("token requests by scope: %v, want one each of two", perToken)
		}
		if o.tokenRequests != 2 {
			t.Errorf("the instances count %d token requests, want 2", o.tokenRequests)
		}
		// accounts and export call an API once, nightly twice.
		if calls := w.Answers(environment, http.StatusOK) + w.Answers(graph, http.StatusOK); calls < 4*int(o.done) {
			t.Errorf("the APIs saw %d calls with a valid token, want at least %d", calls, 4*o.done)
		}
	})
}

func TestInvocations(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	i := newInstance(t, w)

	body, err := i.forward(t.Context(), "/api/accounts")
	if err != nil || strings.TrimSpace(string(body)) != `["Contoso","Fabrikam"]` {
		t.Errorf("accounts, passed through: %s, %v", body, err)
	}
	users := []any{"Ada Lovelace", "Grace Hopper", "Radia Perlman"}
	for _, tt := range []struct {
		function, binding string
		trigger           any
		want              *result
	}{
		{"accounts", "req", httpTrigger, &result{Outputs: map[string]any{"res": map[string]any{
			"statusCode": 200.0, "headers": map[string]any{"Content-Type": "application/json"},
			"body": []any{"Contoso", "Fabrikam"},
		}}}},
		{"export", "req", httpTrigger, &result{
			Outputs: map[string]any{"res": map[string]any{"statusCode": 202.0, "body": map[string]any{"queued": 3.0}},
				"users": users},
			Logs: []string{"export: 3 users queued"},
		}},
		{"nightly", "timer", timerTrigger, &result{
			Logs: []string{"nightly: 2 accounts, 3 users"}, ReturnValue: "nightly: 2 accounts, 3 users",
		}},
		{"nightly", "timer", map[string]any{"IsPastDue": true}, &result{
			Logs: []string{"nightly: 2 accounts, 3 users, late"}, ReturnValue: "nightly: 2 accounts, 3 users, late",
		}},
	} {
		got, err := i.invoke(t.Context(), tt.function, tt.binding, tt.trigger)
		if err != nil {
			t.Errorf("%s: %v", tt.function, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.function, diff)
		}
	}

	for path, body := range map[string]string{
		"/export":  `{"Data":{}}`,
		"/nightly": `not JSON`,
	} {
		if code, _, err := i.do(t.Context(), http.MethodPost, path, []byte(body)); err != nil ||
			code != http.StatusBadRequest {
			t.Errorf("%s with %s: %d, %v; want 400", path, body, code, err)
		}
	}
}

// A failure is told by the status, which is all that the host looks at, and named in the log without a secret.
func TestFailureIsToldToTheHost(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	w.Entra.AddFault(entratest.Fault{Status: 400,
		Body: entratest.ErrorBody("invalid_client", 7000215, "Invalid client secret provided.")})
	i := newInstance(t, w)
	if err := i.invokeAll(t.Context()); err == nil {
		t.Error("the invocations succeed without a token")
	} else if n := strings.Count(err.Error(), "answers 502"); n != 3 {
		t.Errorf("%d of 3 invocations answer 502: %v", n, err)
	}
	i.kill()
	log := i.stderr.Bytes()
	if !bytes.Contains(log, []byte("AADSTS7000215")) {
		t.Errorf("the log does not say why: %s", log)
	}
	for _, secret := range w.Entra.Secrets() {
		if bytes.Contains(log, []byte(secret)) {
			t.Error("a secret is in the log")
		}
	}
}

// The files say what the code does: a folder for each function, its bindings named as the handler expects them.
func TestFunctionFiles(t *testing.T) {
	files, err := filepath.Glob("*/function.json")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, file := range files {
		var function struct {
			Bindings []struct{ Name, Type, Direction string }
		}
		readJSON(t, file, &function)
		name := filepath.Dir(file)
		for _, b := range function.Bindings {
			got[name] = append(got[name], b.Direction+" "+b.Type+" "+b.Name)
		}
	}
	want := map[string][]string{
		"accounts": {"in httpTrigger req", "out http res"},
		"export":   {"in httpTrigger req", "out http res", "out queue users"},
		"nightly":  {"in timerTrigger timer"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var host struct {
		Version       string
		CustomHandler struct {
			Description               struct{ DefaultExecutablePath string }
			EnableProxyingHTTPRequest bool
		}
	}
	readJSON(t, "host.json", &host)
	if host.Version != "2.0" || host.CustomHandler.Description.DefaultExecutablePath != "azurefunctions" ||
		!host.CustomHandler.EnableProxyingHTTPRequest {
		t.Errorf("host.json: %+v", host)
	}
	var local struct{ Values map[string]string }
	readJSON(t, "local.settings.json", &local)
	for _, name := range settings {
		if _, ok := local.Values[name]; !ok {
			t.Errorf("local.settings.json lacks %s", name)
		}
	}
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestMissingOrWrongSettingIsNamed(t *testing.T) {
	good := map[string]string{
		"REDIS_URL": "redis://127.0.0.1:1", "TOKEN_CACHE_KEYS": "k:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"AZURE_TENANT_ID": entratest.DefaultTenant, "AZURE_CLIENT_ID": "a", "AZURE_CLIENT_SECRET": "b",
		"DATAVERSE_URL": "https://contoso.crm4.dynamics.com/",
	}
	for _, tt := range []struct{ name, value string }{
		{"REDIS_URL", ""}, {"TOKEN_CACHE_KEYS", ""}, {"AZURE_TENANT_ID", ""}, {"AZURE_CLIENT_ID", ""},
		{"AZURE_CLIENT_SECRET", ""}, {"DATAVERSE_URL", ""},
		{"REDIS_URL", "http://:hidden@127.0.0.1"}, {"TOKEN_CACHE_KEYS", "short:AAAA"},
	} {
		s, err := newService(func(name string) string {
			if name == tt.name {
				return tt.value
			}
			return good[name]
		})
		if err == nil {
			s.close()
			t.Errorf("%s=%q is taken", tt.name, tt.value)
		} else if !strings.Contains(err.Error(), tt.name) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s=%q: %v", tt.name, tt.value, err)
		}
	}
	s, err := newService(func(name string) string { return good[name] })
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.dataverse.scope != "https://contoso.crm4.dynamics.com/.default" ||
		s.graph.scope != "https://graph.microsoft.com/.default" {
		t.Errorf("scopes %q and %q", s.dataverse.scope, s.graph.scope)
	}
}

// Without the host's port a copy would listen on some other.
func TestWithoutTheHostNothingIsServed(t *testing.T) {
	if err := handle(t.Context(), ""); err == nil || !strings.Contains(err.Error(), portVariable) {
		t.Errorf("%v, want something about %s", err, portVariable)
	}
}
