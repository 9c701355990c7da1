// Command oboapi is a web API that calls another API, Graph, in the name of the users who call it (on-behalf-of), run
// as two instances behind one address. A user's token costs one on-behalf-of request, whatever the number of calls and
// instances.
//
//	go run ./examples/oboapi
//
// This file, api.go and keys.go are what to copy. emulated.go and callers.go make it run with Go alone; they are not
// part of the service.
package main

import (
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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

var (
	address   = flag.String("addr", "localhost:8080", "`address` of all instances together")
	instances = flag.Int("instances", 2, "how many there are; with a load balancer of your own, 1")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(os.Stdout, func(string) error {
		<-ctx.Done()
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "oboapi:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "oboapi"}

// run serves at a URL while f runs.
func run(out io.Writer, f func(url string) error) error {
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	defer listener.Close()
	var all []*url.URL
	for i := range *instances {
		at, stop, err := instance(fmt.Sprint("instance ", i+1))
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
	fmt.Fprintf(out, "instances: %d, at http://%s/me\n", len(all), listener.Addr())
	return f("http://" + listener.Addr().String())
}

// instance starts one.
func instance(name string) (at *url.URL, stop func(), err error) {
	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	defer func() {
		if err != nil {
			_ = rdb.Close()
		}
	}()
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return nil, nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	tokens, err := msalredis.New(rdb, sealer, &options)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = tokens.Close()
		}
	}()
	secret, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return nil, nil, fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	tenant, clientID := os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")
	cred, err := azcred.New("https://login.microsoftonline.com/"+tenant, clientID, secret, tokens, nil)
	if err != nil {
		return nil, nil, err
	}
	a := newAPI(name, tenant, clientID, cred)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	end := serve(listener, a.routes())
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}, func() {
		end()
		_ = tokens.Close()
		_ = rdb.Close()
	}, nil
}

// balance is the load balancer: each request goes to the next instance.
func balance(all []*url.URL) http.Handler {
	var next atomic.Int64
	return &httputil.ReverseProxy{Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(all[int(next.Add(1))%len(all)])
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // else its caller has left
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
