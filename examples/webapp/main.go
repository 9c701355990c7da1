// Command webapp is a web application that signs users in with Entra ID and calls an API in their name, run as two
// instances behind one address. Whichever instance a request comes to, the user is signed in there, and a sign-out at
// one holds on all.
//
//	go run ./examples/webapp
//
// This file, app.go, sessions.go, signin.go, signout.go and tokens.go are what to copy. emulated.go makes it run with
// Go alone; it is not part of the application.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

var (
	address   = flag.String("addr", "localhost:8080", "`address` of all instances together")
	instances = flag.Int("instances", 2, "how many there are; with a load balancer of your own, 1")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(os.Stdout, *address, os.Getenv("PUBLIC_URL"), func(string) error {
		<-ctx.Done()
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's.
var options msalredis.Options

// run serves at an address, which f gets as a URL, while f runs. Browsers may have another URL for it.
func run(out io.Writer, address, publicURL string, f func(at string) error) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	defer listener.Close()
	publicURL = strings.TrimSuffix(cmp.Or(publicURL, localhost(listener)), "/")
	var all []*url.URL
	for i := range *instances {
		at, stop, err := instance(fmt.Sprint("instance ", i+1), publicURL)
		if err != nil {
			return err
		}
		defer stop()
		all = append(all, at)
	}
	if len(all) == 0 {
		return fmt.Errorf("-instances is %d: it must be at least 1", *instances)
	}
	defer serve(listener, balance(all))()
	fmt.Fprintf(out, "instances: %d, at %s\n", len(all), publicURL)
	return f("http://" + listener.Addr().String())
}

// localhost is the URL of a listener by the one name that a registered http redirect URI may have.
func localhost(l net.Listener) string {
	return fmt.Sprint("http://localhost:", l.Addr().(*net.TCPAddr).Port)
}

// instance starts one.
func instance(name, publicURL string) (at *url.URL, stop func(), err error) {
	a, err := newApp(name, settings{
		redisURL: os.Getenv("REDIS_URL"), keys: os.Getenv("TOKEN_CACHE_KEYS"),
		tenant: os.Getenv("AZURE_TENANT_ID"), clientID: os.Getenv("AZURE_CLIENT_ID"),
		secret: os.Getenv("AZURE_CLIENT_SECRET"), publicURL: publicURL,
	})
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.close()
		return nil, nil, err
	}
	end := serve(listener, a.routes())
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}, func() {
		end()
		a.close()
	}, nil
}

// balance is the load balancer: each request goes to the next instance.
func balance(all []*url.URL) http.Handler {
	var next atomic.Int64
	return &httputil.ReverseProxy{Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(all[int(next.Add(1))%len(all)])
			r.SetXForwarded()
			r.Out.Host = r.In.Host // which the app compares with the Origin of what is posted
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // else its browser has left
				slog.Error("an instance did not answer", "error", err)
			}
			w.WriteHeader(http.StatusBadGateway)
		}}
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
