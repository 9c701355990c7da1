// Command webapp is a web application that signs users in with Entra ID and calls an API in their name, run as two
// instances behind one address. Whichever instance a request comes to, the user is signed in there, and a sign-out at
// one holds on all.
//
//	go run ./examples/webapp
//
// app.go is the application, tokens.go how it comes by its users' tokens. front.go and standin.go are there so that it
// runs, and is tested, with Go alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	standin.StopWithParent(stop)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("webapp", flag.ContinueOnError)
	address := f.String("addr", "localhost:8080", "`address` of all instances together")
	instances := f.Int("instances", 2, "how many there are; with a load balancer of your own, 1")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *instances < 1 || f.NArg() > 0 {
		return errors.New("-instances must be at least 1, and there are no arguments; see -help")
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	defer listener.Close()
	site, err := open(listener, *instances, env, "")
	if err != nil {
		return err
	}
	defer site.close()
	fmt.Fprintf(out, "%d instances at %s\n", *instances, site.url)
	if site.world.Entra != nil {
		fmt.Fprintln(out, "Entra ID is emulated: pick any user, no password is asked. Ctrl-C ends.")
	}
	<-ctx.Done()
	if site.world.Entra != nil {
		fmt.Fprintf(out, "%d token requests were sent\n", site.world.Entra.Count())
	}
	return nil
}

// serve serves until stop is called.
func serve(l net.Listener, h http.Handler) (stop func()) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until Shutdown
	}()
	return func() {
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
		<-done
	}
}
