package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// worker is one instance of the fleet: one Cache, and one MSAL client for each tenant.
type worker struct {
	name string
	apps []confidential.Client

	taken, failed atomic.Int64
	slowest       atomic.Int64 // nanoseconds, since the last line
	sent          atomic.Int64 // token requests of this process
	lastErr       atomic.Pointer[error]
}

func runWorker(ctx context.Context, c config, stdout io.Writer) error {
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return err
	}
	rdb, err := connect.Open(c.redis, nil)
	if err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	defer rdb.Close()
	options := &msalredis.Options{OpTimeout: c.opTimeout}
	if c.metrics != "" {
		m, err := serveMetrics(c.metrics)
		if err != nil {
			return err
		}
		defer m.Close()
		options.Telemetry = msalredisotel.Telemetry{MeterProvider: m.provider}
		fmt.Fprintf(stdout, "metrics: http://%s/metrics\n", m.address)
	}
	tokens, err := msalredis.New(rdb, sealer, options)
	if err != nil {
		return err
	}
	defer tokens.Close()

	pem, err := fetchCA(ctx, c.ca, c.waitForEmul)
	if err != nil {
		return err
	}
	entra, err := entratest.Transport(c.entra, pem)
	if err != nil {
		return fmt.Errorf("--entra: %w", err)
	}
	defer entra.CloseIdleConnections()

	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	w := &worker{name: fmt.Sprintf("%s/%d", host, os.Getpid())}
	// HTTPClient is what a service uses. Here the gate stands before a transport that counts and finds the emulator.
	gate := &http.Client{Transport: tokens.Transport(counter{entra, &w.sent})}
	cred, err := confidential.NewCredFromSecret(clientSecret)
	if err != nil {
		return err
	}
	for i := range c.tenants {
		app, err := confidential.New(fmt.Sprintf("https://login.microsoftonline.com/tenant%d.example", i), clientID, cred,
			confidential.WithCache(tokens),
			confidential.WithHTTPClient(gate))
		if err != nil {
			return err
		}
		w.apps = append(w.apps, app)
	}
	fmt.Fprintf(stdout, "%s: started, %d goroutines, %d tenants\n", w.name, c.gophers, c.tenants)

	var wg sync.WaitGroup
	for g := range c.gophers {
		wg.Go(func() { w.work(ctx, g, c.pause) })
	}
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			w.report(stdout)
		case <-ctx.Done():
		}
	}
	wg.Wait()
	w.report(stdout)
	return nil
}

// work takes one token after another, of every tenant in turn.
func (w *worker) work(ctx context.Context, turn int, pause time.Duration) {
	for ; ctx.Err() == nil; turn++ {
		start := time.Now()
		_, err := w.apps[turn%len(w.apps)].AcquireTokenByCredential(ctx, []string{scope})
		took := int64(time.Since(start))
		switch {
		case err == nil:
			w.taken.Add(1)
			for old := w.slowest.Load(); took > old && !w.slowest.CompareAndSwap(old, took); old = w.slowest.Load() {
			}
		case ctx.Err() == nil: // not merely the end
			w.failed.Add(1)
			w.lastErr.Store(&err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (w *worker) report(stdout io.Writer) {
	fmt.Fprintf(stdout, "%s: %d tokens taken, %d token requests sent, %d errors; slowest since the last line %v\n",
		w.name, w.taken.Load(), w.sent.Load(), w.failed.Load(), time.Duration(w.slowest.Swap(0)).Round(10*time.Microsecond))
	if err := w.lastErr.Swap(nil); err != nil {
		fmt.Fprintf(stdout, "%s: the last error: %v\n", w.name, *err)
	}
}

// counter counts the token requests that pass the gate.
type counter struct {
	base http.RoundTripper
	n    *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		c.n.Add(1)
	}
	return c.base.RoundTrip(r)
}

// fetchCA waits for the emulator, which may start after the worker.
func fetchCA(ctx context.Context, url string, patience time.Duration) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for deadline := time.Now().Add(patience); ; {
		pem, err := get(ctx, client, url)
		if err == nil {
			return pem, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("--ca: the emulator does not answer (start one with --emulator): %w", err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 1<<20))
}
