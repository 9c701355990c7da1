package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Two instances, by a managed identity and by a pod's file, have one token, for one request that holds no secret.
func TestInstancesShareOneTokenWithoutASecret(t *testing.T) {
	e := example
	e.RedisURL = redistest.Start(t).URL()
	w := standin.ForTest(t, e)
	var out bytes.Buffer
	if err := e.Run(t.Context(), &out, w); err != nil {
		t.Fatal(err)
	}
	proof, err := w.Entra.FederatedCredential(os.Getenv("AZURE_CLIENT_ID"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(proof), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Setenv("AZURE_FEDERATED_TOKEN_FILE", file) // the world undoes it
	out.WriteString("a pod: ")
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	tokens := map[string]bool{}
	for _, line := range lines {
		_, token, _ := strings.Cut(line, ": ")
		token, _, _ = strings.Cut(token, ", good until ") // what is left of it is told in seconds, and may differ by one
		tokens[token] = true
	}
	if len(lines) != 3 || len(tokens) != 1 {
		t.Errorf("three instances said:\n%s", &out)
	}
	for _, r := range w.Entra.Requests() {
		if r.Form.Has("client_secret") || !r.Form.Has("client_assertion") {
			t.Error("a request with a secret, or without an assertion")
		}
	}
	if n := w.Entra.Count(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}
