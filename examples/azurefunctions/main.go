// Command azurefunctions is a custom handler for Azure Functions whose instances share their tokens: however far the
// app scales out, each token costs one token request.
//
// The Functions host starts it, and sets FUNCTIONS_CUSTOMHANDLER_PORT. Started by hand in this repository it plays the
// host instead: it starts instances of itself, invokes and kills some, and says how many token requests that took.
//
//	go run ./examples/azurefunctions
//
// This file, functions.go (what the app does), invocation.go (the host's protocol) and service.go (how it comes by its
// tokens) are what to copy. emulated.go, demo.go and host.go play the host; they are not part of the app.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := handle(ctx, os.Getenv(portVariable)); err != nil {
		fmt.Fprintln(os.Stderr, "azurefunctions:", err)
		stop()
		os.Exit(1)
	}
}

// portVariable is where the host says on which port of the loopback interface it expects its handler.
const portVariable = "FUNCTIONS_CUSTOMHANDLER_PORT"

// handle serves the host until ctx ends. What a host that scales in kills without notice loses is nothing: tokens are
// in Redis as soon as they have arrived.
func handle(ctx context.Context, port string) error {
	if port == "" {
		return errors.New(portVariable + " is missing: the Functions host sets it, and func start is one")
	}
	s, err := newService(os.Getenv)
	if err != nil {
		return err
	}
	defer s.close()
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return fmt.Errorf("%s: %w", portVariable, err)
	}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}
