package apiclient_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/apiclient"
	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Thousands of requests at concurrency 200, with tokens of the emulator through Redis: connections within the bound,
// which last over a pause, and one token request. -v shows the figures.
//
// HTTP/2 needs one connection. net/http makes as many as the bound allows when a burst meets none, and closes all but
// one.
func TestThousandsOfRequestsFewConnections(t *testing.T) { fewConnections(t, 2_000) }

func TestLongTenThousandRequestsFewConnections(t *testing.T) {
	long.Test(t)
	fewConnections(t, 10_000)
}

func fewConnections(t *testing.T, requests int) {
	const concurrency, bound = 200, 64
	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer entra.Close()
	const clientID = "11111111-aaaa-4bbb-8ccc-000000000001"
	entra.AddApp(entratest.App{ClientID: clientID, Secret: "the-client's-secret"})
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := msalredis.New(redistest.Start(t).Client(), sealer,
		&msalredis.Options{Prefix: redistest.Prefix(t), OpTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	secret, err := confidential.NewCredFromSecret("the-client's-secret")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := azcred.New(entra.Authority(entratest.DefaultTenant), clientID, secret, tokens,
		&azcred.Options{Transport: entra.Transport()})
	if err != nil {
		t.Fatal(err)
	}

	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			entra.ResetRequests()
			var conns, open, served, withoutToken atomic.Int64
			api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served.Add(1)
				if len(r.Header.Get("Authorization")) < 100 {
					withoutToken.Add(1)
				}
				io.WriteString(w, `{"value":[]}`)
			}))
			api.EnableHTTP2 = http2
			api.StartTLS()
			defer api.Close()
			base := apiclient.NewTransport(bound)
			base.TLSClientConfig = &tls.Config{RootCAs: api.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
			dial := base.DialContext
			base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				conns.Add(1)
				open.Add(1)
				return &counted{Conn: c, open: &open}, nil
			}
			client, err := apiclient.New(api.URL, cred, &apiclient.Options{Transport: base})
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()

			burst := func(n int) {
				var wg sync.WaitGroup
				for range concurrency {
					wg.Go(func() {
						for range n / concurrency {
							resp, err := client.Get(api.URL)
							if err != nil {
								t.Error(err)
								return
							}
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
					})
				}
				wg.Wait()
			}
			start := time.Now()
			burst(requests / 2)
			first := conns.Load()
			burst(requests / 2) // after a pause, in which all were idle
			t.Logf("%d requests, %d at a time, in %v: %d connections made, %d of them in the second half, %d open at the "+
				"end; %d token requests",
				served.Load(), concurrency, time.Since(start).Round(time.Millisecond), conns.Load(), conns.Load()-first,
				open.Load(), entra.Count())
			if n := served.Load(); n != int64(requests) {
				t.Errorf("%d requests served, want %d", n, requests)
			}
			if n := withoutToken.Load(); n != 0 {
				t.Errorf("%d requests without a token", n)
			}
			// A few more than the bound: net/http replaces one that broke, and counts out what it closes before it closes it.
			if conns.Load() > bound+bound/4 || open.Load() > bound {
				t.Errorf("%d connections made and %d open, want at most %d", conns.Load(), open.Load(), bound)
			}
			if n := entra.Count(); n != 1 {
				t.Errorf("%d token requests, want 1", n)
			}
		})
	}
}

type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
