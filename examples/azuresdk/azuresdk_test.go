package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// The processes are this test's binary.
func TestMain(m *testing.M) {
	if os.Getenv(processMark) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Two processes with two credentials each read the secret, and of all only one asks Entra ID.
func TestTwoProcessesOneTokenRequest(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		var out bytes.Buffer
		env := map[string]string{"REDIS_URL": url}
		for _, name := range []string{"REDIS_URL", "AZURE_CLIENT_ID", "TOKEN_CACHE_KEYS"} {
			if os.Getenv(name) != "" {
				t.Fatalf("%s is set, and this test is not for the real services", name)
			}
		}
		w, err := newWorld(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		w.env = append(w.env, "REDIS_URL="+url, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
		if err := w.run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		for _, by := range []string{"azidentity over the gate", "azcred over the cache"} {
			if strings.Count(out.String(), by+": secret database-password has 19 characters") != 2 {
				t.Errorf("not both processes have read by %s:\n%s", by, out.String())
			}
		}
		if n := w.entra.Count(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
		if n := w.reads.Load(); n != 4 {
			t.Errorf("the vault was read %d times with a token, want 4", n)
		}
	})
}

// What is missing is said before anything is started.
func TestSettingsThatAreMissing(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"KEY_VAULT_URL": {"AZURE_CLIENT_ID": "x", "AZURE_TENANT_ID": "x", "AZURE_CLIENT_SECRET": "x"},
		"TOKEN_CACHE_KEYS": {"AZURE_CLIENT_ID": "x", "AZURE_TENANT_ID": "x", "AZURE_CLIENT_SECRET": "x", "KEY_VAULT_URL": "x",
			"KEY_VAULT_SECRET": "x", "REDIS_URL": "x"},
	} {
		err := start(t.Context(), func(name string) string { return env[name] }, new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), want+" is missing") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
