// Command oboapi is a web API that calls another API, Graph, in the name of the users who call it (on-behalf-of), run
// as two instances behind one address. A user's token costs one on-behalf-of request, whatever the number of calls and
// instances.
//
//	go run ./examples/oboapi
//
// This file and api.go are what to copy. emulated.go and callers.go are there so that it runs, and is tested, with Go
// alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/internal/standin"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

var (
	address   = flag.String("addr", "localhost:8080", "`address` of all instances together")
	instances = flag.Int("instances", 2, "how many there are; with a load balancer of your own, 1")
)

func main() { standin.Main(example) }

// run serves until ctx ends; where all is emulated, until some users have called.
func run(ctx context.Context, w *standin.World, out io.Writer) error {
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	defer listener.Close()
	var all []*url.URL
	for i := range *instances {
		at, stop, err := instance(w, fmt.Sprint("instance ", i+1))
		if err != nil {
			return err
		}
		defer stop()
		all = append(all, at)
	}
	defer serve(listener, balance(all))()
	fmt.Fprintf(out, "instances: %d, at http://%s/me\n", len(all), listener.Addr())
	if w.Entra == nil {
		<-ctx.Done()
		return nil
	}
	return call(ctx, w, "http://"+listener.Addr().String(), out)
}

// instance starts one. In a service of yours w.Getenv is os.Getenv, and w.CacheOptions and w.Network are nil.
func instance(w *standin.World, name string) (at *url.URL, stop func(), err error) {
	rdb, err := connect.Open(w.Getenv("REDIS_URL"), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	defer func() {
		if err != nil {
			_ = rdb.Close()
		}
	}()
	keys, err := serializer.ParseKeys(w.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return nil, nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	tokens, err := msalredis.New(rdb, sealer, w.CacheOptions)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = tokens.Close()
		}
	}()
	secret, err := confidential.NewCredFromSecret(w.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return nil, nil, fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	tenant, clientID := w.Getenv("AZURE_TENANT_ID"), w.Getenv("AZURE_CLIENT_ID")
	cred, err := azcred.New("https://login.microsoftonline.com/"+tenant, clientID, secret, tokens,
		&azcred.Options{Transport: w.Network})
	if err != nil {
		return nil, nil, err
	}
	a := newAPI(name, tenant, clientID, cred, w.Network)
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
