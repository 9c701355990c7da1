package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// What may become of a worker's requests to Entra ID.
const (
	egressWell     = ""
	egressRefused  = "refused"
	egressHangs    = "hangs"
	egressProxy    = "proxy"
	egressPanics   = "panics"
	egressNil      = "no response"
	egressBodyless = "no body"
)

// egress is a worker's way to Entra ID, of all of its requests: those for tokens, and discovery.
type egress struct {
	base http.RoundTripper
	way  atomic.Pointer[way]
}

type way struct {
	how  string
	over chan struct{} // closed when another way takes its place
}

func (e *egress) set(how string) {
	if old := e.way.Swap(&way{how, make(chan struct{})}); old != nil {
		close(old.over)
	}
}

// transportPanic is what the transport panics with.
const transportPanic = "faultrun: the base transport panics"

var errTransportPanic = errors.New(transportPanic)

// panicked is a panic of what calls the transport.
type panicked struct{ value any }

func (p *panicked) Error() string { return fmt.Sprint("panic: ", p.value) }

// RoundTrip implements [http.RoundTripper], as badly as it is told to.
func (e *egress) RoundTrip(req *http.Request) (*http.Response, error) {
	w := e.way.Load()
	if w == nil || w.how == egressWell {
		return e.base.RoundTrip(req)
	}
	if req.Body != nil {
		req.Body.Close()
	}
	switch w.how {
	case egressRefused:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case egressHangs:
		select {
		case <-w.over:
			return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	case egressPanics:
		panic(transportPanic)
	case egressNil:
		return nil, nil
	}
	resp := &http.Response{Status: "503 Service Unavailable", StatusCode: http.StatusServiceUnavailable, Proto: "HTTP/1.1",
		ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req}
	if w.how == egressProxy {
		const page = "<html><head><title>503 Service Unavailable</title></head><body>No server is available to handle this " +
			"request.</body></html>"
		resp.Header.Set("Content-Type", "text/html")
		resp.Header.Set("Retry-After", "3600")
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(page)), int64(len(page))
	}
	return resp, nil
}

// sicken gives one worker a broken way to Entra ID, one of several.
func sicken(how ...string) inject {
	return func(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
		p := s.fleet.at(rng.IntN(s.Terms.Workers))
		f.Worker, f.Note = p.life.Worker, fmt.Sprintf("worker %d", p.life.Worker)
		one := how[rng.IntN(len(how))]
		if len(how) > 1 {
			f.Note += ": " + one
		}
		heal := func(ctx context.Context) error { return p.doAs(ctx, order{Do: "egress", How: egressWell}) }
		return heal, p.doAs(ctx, order{Do: "egress", How: one})
	}
}

// connections are a worker's to Redis.
type connections struct {
	mu  sync.Mutex
	all map[*connection]bool
}

// connection is one that may be dropped without a word, as a load balancer drops those that were idle: what is written
// goes nowhere, and nothing comes.
type connection struct {
	*net.TCPConn
	of   *connections
	dead atomic.Bool
}

func (c *connections) keep(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	k := &connection{TCPConn: tcp, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*connection]bool{}
	}
	c.all[k] = true
	return k
}

func (c *connection) Read(p []byte) (int, error) {
	for {
		n, err := c.TCPConn.Read(p)
		if err != nil || !c.dead.Load() {
			return n, err
		}
	}
}

func (c *connection) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return len(p), nil
	}
	return c.TCPConn.Write(p)
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.all, c)
	c.of.mu.Unlock()
	return c.TCPConn.Close()
}

// pooled is how many connections a pool is to have when they die.
const pooled = 16

// deaden drops all connections that there are, after as many as an idle pool may have were opened.
func (c *connections) deaden(ctx context.Context, rdb redis.UniversalClient) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fill := func(ctx context.Context, node *redis.Client) error {
		var held []*redis.Conn
		for range pooled {
			conn := node.Conn()
			held = append(held, conn)
			if conn.Ping(ctx).Err() != nil {
				break
			}
		}
		for _, conn := range held {
			_ = conn.Close() // which gives it back to the pool
		}
		return nil
	}
	switch rdb := rdb.(type) {
	case *redis.Client:
		_ = fill(ctx, rdb)
	case *redis.ClusterClient:
		_ = rdb.ForEachShard(ctx, fill)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all {
		conn.dead.Store(true)
	}
}

func deadenNet(ctx context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	return healed, s.fleet.allAs(ctx, order{Do: "deaden"})
}

// burstOf is of how many tokens a burst is: as many as one pool of connections has to let wait.
const burstOf = 100

// burst lets everybody ask for the same many tokens, which nobody has yet.
func burst(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	scope := fmt.Sprintf("https://burst-%d.contoso.com/.default", rng.Uint32())
	f.Note = fmt.Sprintf("%d tokens", min(len(s.world.tenants), burstOf))
	return healed, s.fleet.allAs(ctx, order{Do: "burst", How: scope})
}

func (w *worker) burst(scope string) {
	var wg sync.WaitGroup
	for _, tenant := range w.Tenants[:min(len(w.Tenants), burstOf)] {
		wg.Go(func() { w.do(call{Flow: flowApp, Tenant: tenant, Scope: scope}, person{}) })
	}
	wg.Wait()
}
