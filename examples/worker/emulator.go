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
			before = reportEmulator(stdout, entra, c.lifetime, before)
		case <-ctx.Done():
			reportEmulator(stdout, entra, c.lifetime, before)
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

func reportEmulator(stdout io.Writer, entra *entratest.Server, lifetime time.Duration, before int) int {
	tenants, most := map[string]time.Time{}, 0
	all := entra.Requests()
	early := 0
	for _, r := range all {
		last, again := tenants[r.Tenant]
		if !again {
			most = max(most, entra.MaxConcurrent(entratest.ByTenant(r.Tenant)))
		} else if r.Arrived.Sub(last) < dueAfter(lifetime) {
			early++
		}
		tenants[r.Tenant] = r.Arrived
	}
	fmt.Fprintf(stdout, "emulator: %d token requests for %d tenants, %d since the last line; %d too early, at most %d "+
		"at once for one tenant\n",
		len(all), len(tenants), len(all)-before, early, most)
	return len(all)
}

// dueAfter is the age before which nobody has a reason to ask for a token again: half of its usable life, which MSAL
// ends five minutes before its expiry (Options.RefreshAt), less the second that its whole seconds may cut off.
func dueAfter(lifetime time.Duration) time.Duration { return (lifetime-5*time.Minute)/2 - time.Second }
