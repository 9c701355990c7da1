package main

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func open(t *testing.T) *standin.World {
	t.Helper()
	return openOn(t, redistest.Start(t).URL())
}

func openOn(t *testing.T, url string) *standin.World {
	t.Helper()
	e := example
	e.RedisURL = url
	return standin.ForTest(t, e)
}

// All items both ways, through a revoked token at Graph and a pause at SharePoint. The tokens cost a request each,
// proved by a signature that names the certificate, and a second instance finds them, the challenge's too.
func TestEveryItemBothWays(t *testing.T) {
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		w := openOn(t, url)
		for range 2 {
			var out bytes.Buffer
			if err := run(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			if want := "Graph: 500 items of Leads\nSharePoint: 500 items of Leads\n"; out.String() != want {
				t.Errorf("output %q, want %q", out.String(), want)
			}
		}
		if n := w.Answers(graphHost, http.StatusUnauthorized); n != 1 {
			t.Errorf("Graph answered %d times 401, want once: the challenge", n)
		}
		if n := w.Answers(sharePointHost, http.StatusUnauthorized); n != 0 {
			t.Errorf("SharePoint answered %d times 401", n)
		}
		if w.Answers(sharePointHost, http.StatusTooManyRequests) == 0 {
			t.Error("SharePoint did not ask for a pause")
		}
		for scope, want := range map[string]int{graph + "/.default": 2, "https://" + sharePointHost + "/.default": 1} {
			if n := w.Entra.Count(entratest.ByScope(scope)); n != want {
				t.Errorf("%d token requests for %s, want %d", n, scope, want)
			}
		}
		for _, r := range w.Entra.Requests() {
			assertion, _, err := jwt.NewParser().ParseUnverified(r.Form.Get("client_assertion"), jwt.MapClaims{})
			if err != nil {
				t.Fatalf("the client assertion: %v", err)
			}
			if r.Form.Has("client_secret") || assertion.Header["x5t#S256"] == nil && assertion.Header["x5t"] == nil {
				t.Errorf("the request is not proved by a named certificate: header %v", assertion.Header)
			}
		}
	})
}

// A certificate that is not the app's is refused by Entra ID, and the error says so without the key.
func TestAnotherCertificateIsRefused(t *testing.T) {
	w := open(t)
	_, other, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Getenv("AZURE_CLIENT_CERTIFICATE_PATH"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Errorf("%v, want AADSTS700027", err)
	}
}
