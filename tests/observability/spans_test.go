package observability_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// acquired waits until a flight is over, which goes on behind its callers.
func acquired(t *testing.T, i *harness.Instance) {
	t.Helper()
	harness.Eventually(t, "the span of a flight", func() bool {
		_, ended := named(i.Seen.Spans.GetSpans())["msalredis.acquire"]
		return ended
	})
}

// The spans of an acquisition are in the caller's trace, in the order that the document gives; those who share a flight
// are linked to it; and nothing in them names anybody.
func TestSpansOfAnAcquisition(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	tracer := a.Seen.Traces.Tracer("caller")

	ctx, caller := tracer.Start(context.Background(), "caller")
	app := a.App()
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	caller.End()
	acquired(t, a)
	spans := named(a.Seen.Spans.GetSpans())
	names := map[trace.SpanID]string{}
	for _, s := range a.Seen.Spans.GetSpans() {
		names[s.SpanContext.SpanID()] = s.Name
	}
	parent := map[string]string{
		"msalredis.replace": "caller", "msalredis.gate": "caller", "msalredis.acquire": "msalredis.gate",
		"msalredis.lock": "msalredis.acquire", "msalredis.token_request": "msalredis.acquire",
		"EVALSHA look": "msalredis.acquire", "EVALSHA respond": "msalredis.acquire",
		"EVALSHA load": "msalredis.replace", "EVALSHA store": "caller",
	}
	for name, s := range spans {
		if s.SpanContext.TraceID() != caller.SpanContext().TraceID() {
			t.Errorf("%s is not in the caller's trace", name)
		}
		want, ok := parent[name]
		if name != "caller" && name != "EVALSHA enlist" && (!ok || names[s.Parent.SpanID()] != want) {
			t.Errorf("%s is not a child of %q", name, want)
		}
	}
	for name := range parent {
		if _, ok := spans[name]; !ok {
			t.Errorf("no span %s", name)
		}
	}
	a.Seen.Spans.Reset()
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) // takes note of what was written
	a.Seen.Spans.Reset()
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	if s := a.Seen.Spans.GetSpans(); len(s) != 0 {
		t.Errorf("a hit has %d spans", len(s))
	}

	// Callers of one flight, each in a trace of its own.
	const other = "https://other.example.com/.default"
	d := w.Door()
	all := harness.StartCalls(4, func(i int) (confidential.AuthResult, error) {
		ctx, caller := b.Seen.Traces.Tracer("caller").Start(context.Background(), fmt.Sprint("caller ", i))
		defer caller.End()
		return b.GateApp().AcquireTokenByCredential(ctx, []string{other})
	})
	harness.InGate(t, 4)
	d.Open()
	harness.OneToken(t, harness.CollectCalls(t, 4, all))
	acquired(t, b)
	var flight trace.SpanContext
	for _, s := range b.Seen.Spans.GetSpans() {
		if s.Name == "msalredis.acquire" {
			flight = s.SpanContext
		}
	}
	traces, linked := map[trace.TraceID]bool{}, 0
	for _, s := range b.Seen.Spans.GetSpans() {
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
	i := w.Instance()
	client := i.App()
	i.SignIn(client, u)
	harness.Must(t)(harness.Silent(context.Background(), client, u.HomeAccountID(), harness.MailScope))
	w.Entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
	if _, err := i.GateApp().AcquireTokenByCredential(context.Background(), []string{other + "x"}); err == nil {
		t.Error("a token while throttled")
	}
	failed := 0
	rows := tableOf(t, "## Spans")
	for _, s := range slices.Concat(a.Seen.Spans.GetSpans(), b.Seen.Spans.GetSpans(), i.Seen.Spans.GetSpans()) {
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
		for _, who := range []string{harness.ClientID, harness.Tenant, u.ObjectID, u.Username, "AppTokenCache",
			w.Entra.Host(), "microsoftonline"} {
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
		if slices.Contains(attributeNames, name) || !slices.Contains(literals(t,
			regexp.MustCompile(`^(msalredis\.[a-z_]+|EVALSHA)$`), "internal/telemetry/telemetry.go",
			"msalredisotel/trace.go"), name) {
			t.Errorf("the document lists %s, which the code does not have", name)
		}
	}
}
