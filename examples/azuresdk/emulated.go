package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const vaultHost = "contoso.vault.azure.net"

// world is what the processes talk to. What the environment names is taken from there; the rest is emulated in this
// process.
type world struct {
	env   []string          // for the processes
	entra *entratest.Server // nil: the real one
	reads atomic.Int64      // of the emulated vault with a valid token
	undo  []func()
}

func newWorld(env func(string) string) (*world, error) {
	w := &world{}
	if err := w.build(env); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) build(env func(string) string) error {
	set := func(name, value string) { w.env = append(w.env, name+"="+value) }
	real := env("AZURE_CLIENT_ID") != ""
	if real {
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "KEY_VAULT_URL", "KEY_VAULT_SECRET"} {
			if env(name) == "" {
				return fmt.Errorf("%s is missing: with AZURE_CLIENT_ID the real services are used; see --help", name)
			}
		}
	}
	if env("REDIS_URL") == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.StartAddr("127.0.0.1:0"); err != nil {
			return err
		}
		w.undo = append(w.undo, embedded.Close)
		embedded.ClockTTL(true) // what expires does so by its time to live; without this, never
		set("REDIS_URL", "redis://"+embedded.Addr())
	}
	if env("TOKEN_CACHE_KEYS") == "" {
		if real && env("REDIS_URL") != "" {
			return errors.New("TOKEN_CACHE_KEYS is missing: all who share this Redis must have the same")
		}
		key, err := serializer.GenerateKey("demo")
		if err != nil {
			return err
		}
		set("TOKEN_CACHE_KEYS", key.Export())
	}
	if real {
		return nil
	}
	entra, err := entratest.NewServer(nil)
	if err != nil {
		return err
	}
	w.entra = entra
	w.undo = append(w.undo, func() { _ = entra.Close() })
	const clientID, secret = "a5d00000-0000-4000-8000-000000000001", "known to everybody"
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	set("AZURE_TENANT_ID", entratest.DefaultTenant)
	set("AZURE_CLIENT_ID", clientID)
	set("AZURE_CLIENT_SECRET", secret)
	set("KEY_VAULT_URL", "https://"+vaultHost)
	set("KEY_VAULT_SECRET", "database-password")
	vault := httptest.NewTLSServer(w.vault())
	w.undo = append(w.undo, vault.Close)
	set("ENTRATEST_HOST", entra.Host())
	set("ENTRATEST_CA", string(entra.CAPEM()))
	set("VAULT_STANDIN_HOST", vault.Listener.Addr().String())
	set("VAULT_STANDIN_CA", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vault.Certificate().Raw})))
	return nil
}

// vault is a Key Vault with one secret. It asks for a token as Key Vault does, which clients meet with their first
// request: https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
func (w *world) vault() http.Handler {
	const audience = "https://vault.azure.net"
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), w.entra.HTTPClient()),
		w.entra.URL()+"/"+entratest.DefaultTenant+"/discovery/v2.0/keys")
	check := oidc.NewVerifier("https://login.microsoftonline.com/"+entratest.DefaultTenant+"/v2.0", keys,
		&oidc.Config{ClientID: audience})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /secrets/database-password/", func(out http.ResponseWriter, r *http.Request) {
		out.Header().Set("Content-Type", "application/json; charset=utf-8")
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := check.Verify(r.Context(), token); err != nil {
			out.Header().Set("WWW-Authenticate",
				fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`,
					entratest.DefaultTenant, audience))
			out.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(out, `{"error":{"code":"Unauthorized","message":"AKV10000: Request is missing a Bearer or PoP token."}}`)
			return
		}
		w.reads.Add(1)
		fmt.Fprintf(out, `{"value":"not a real password",`+
			`"id":"https://%s/secrets/database-password/4387e9f3d6e14c459867679a90fd0f79","attributes":{"enabled":true}}`,
			vaultHost)
	})
	return mux
}

func (w *world) close() {
	for i := len(w.undo) - 1; i >= 0; i-- {
		w.undo[i]()
	}
}

// network brings a process to what stands in for Entra ID and the vault. nil: they are the real ones.
func network(env func(string) string) (http.RoundTripper, *msalredis.Options, error) {
	if env("ENTRATEST_HOST") == "" {
		return nil, nil, nil
	}
	entra, err := entratest.Transport(env("ENTRATEST_HOST"), []byte(env("ENTRATEST_CA")))
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(env("VAULT_STANDIN_CA")))
	vault := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, env("VAULT_STANDIN_HOST"))
		},
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"}, // which httptest's certificate has
	}
	// Here all share a few processors with Redis and Entra ID, and the defaults of 250 ms and 5 s may pass before one gets
	// its turn.
	return &byHost{entra, vault}, &msalredis.Options{OpTimeout: 10 * time.Second, LockTTL: time.Minute}, nil
}

type byHost struct{ entra, vault http.RoundTripper }

func (b *byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == vaultHost {
		return b.vault.RoundTrip(r)
	}
	return b.entra.RoundTrip(r)
}
