package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// runEmulator serves until ctx ends. It prints, every so often, how many token requests arrived.
func runEmulator(ctx context.Context, c config, stdout io.Writer) error {
	entra, err := entratest.NewServer(&entratest.Config{Addr: c.listen})
	if err != nil {
		return err
	}
	defer entra.Close()
	entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime, b.Latency = c.lifetime, c.latency })
	entra.AddApp(entratest.App{ClientID: clientID, Secret: clientSecret})

	// The emulator makes a new CA at each start, so workers ask for it. Over plain HTTP: it protects a demonstration on
	// a private network, and nothing else.
	listener, err := net.Listen("tcp", c.caListen)
	if err != nil {
		return fmt.Errorf("--ca-listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { w.Write(entra.CAPEM()) })
	ca := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- ca.Serve(listener) }()
	defer func() {
		ca.Close()
		<-done
	}()
	fmt.Fprintf(stdout, "emulator: --entra %s --ca http://%s/ca.pem\n", entra.Host(), listener.Addr())

	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for before := 0; ; {
		select {
		case <-tick.C:
			before = reportEmulator(stdout, entra, before)
		case <-ctx.Done():
			reportEmulator(stdout, entra, before)
			return nil
		case err := <-done:
			done <- err
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("--ca-listen: %w", err)
		}
	}
}

func reportEmulator(stdout io.Writer, entra *entratest.Server, before int) int {
	tenants, most := map[string]bool{}, 0
	all := entra.Requests()
	for _, r := range all {
		if !tenants[r.Tenant] {
			tenants[r.Tenant] = true
			most = max(most, entra.MaxConcurrent(entratest.ByTenant(r.Tenant)))
		}
	}
	fmt.Fprintf(stdout, "emulator: %d token requests for %d tenants, %d since the last line; at most %d at once for one tenant\n",
		len(all), len(tenants), len(all)-before, most)
	return len(all)
}
