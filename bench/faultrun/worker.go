package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// worker is one instance of the service: one Cache, and one MSAL client for each tenant.
type worker struct {
	setup
	base   *http.Transport
	egress *egress
	redis  connections
	http   *http.Client
	rdb    redis.UniversalClient
	tokens *msalredis.Cache
	parent *parent
	before goleak.Option // the goroutines that are not the library's
	rest   func()        // ends the load

	mu   sync.Mutex
	apps map[client]confidential.Client
}

type parent = subprocess.Parent[order, record]

// tell writes the log. A line is out before a call goes on: what a killed worker did is known.
func (w *worker) tell(line record) {
	_ = w.parent.Tell(line) // without a parent there is nobody to write to, and the orders have ended too
}

// work is the main of a worker process.
func work() int {
	return subprocess.Serve(func(p *parent, s setup) (func(), error) {
		w, err := newWorker(s, p)
		return func() { p.Answer(w.carryOut) }, err
	})
}

func (w *worker) carryOut(o order) record {
	ctx := w.parent.Context
	answer := record{Kind: "done"}
	switch o.Do {
	case "load":
		loading, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		w.load(loading, &wg)
		w.rest = func() { stop(); wg.Wait() }
	case "rest":
		w.rest()
	case "signin":
		w.everyone(ctx, w.Mine, flowSignIn, scopeRead)
	case "rollcall":
		w.everyone(ctx, w.all(), flowSilent, scopeRoll)
	case "verify":
		w.everyone(ctx, w.all(), flowVerify, scopeVerify)
	case "egress":
		w.egress.set(o.How)
	case "burst":
		w.burst(o.How)
	case "deaden":
		w.redis.deaden(ctx, w.rdb)
	case "close":
		if err := w.close(); err != nil {
			answer.Error = err.Error()
		}
	}
	return answer
}

func newWorker(s setup, p *parent) (*worker, error) {
	w := &worker{
		setup: s, parent: p, before: goleak.IgnoreCurrent(), rest: func() {}, apps: map[client]confidential.Client{},
	}
	keys, err := serializer.ParseKeys(s.Keys)
	if err != nil {
		return nil, err
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, err
	}
	if w.base, err = entratest.Transport(s.Entra, []byte(s.CA)); err != nil {
		return nil, err
	}
	w.egress = &egress{base: w.base}
	w.rdb = s.Redis.client(w.redis.keep)
	logger := slog.New(&breaker{w: w, Handler: slog.NewTextHandler(&lines{w}, &slog.HandlerOptions{Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{} // so that lines repeat
			}
			return a
		}})})
	go w.heartbeat()
	w.tokens, err = msalredis.New(w.rdb, sealer, &msalredis.Options{
		Prefix: s.Prefix, LocalTTL: s.Terms.LocalTTL, LockTTL: s.Terms.LockTTL, OpTimeout: s.Terms.OpTimeout, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	w.http = &http.Client{Transport: w.tokens.Transport(&wire{w.egress, s.Worker})}
	return w, nil
}

// breaker notes when the library's breaker opens and closes: on a busy machine it does so without a fault.
type breaker struct {
	slog.Handler
	w *worker
}

func (b *breaker) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case strings.HasPrefix(r.Message, "Redis is away"):
		b.w.tell(record{Kind: "away", Call: call{Worker: b.w.Worker, Start: b.w.now()}})
	case strings.HasPrefix(r.Message, "Redis is back"):
		b.w.tell(record{Kind: "back", Call: call{Worker: b.w.Worker, Start: b.w.now()}})
	}
	return b.Handler.Handle(ctx, r)
}

// lines gives the library's log to the parent, which looks for secrets in it.
type lines struct{ w *worker }

func (l *lines) Write(line []byte) (int, error) {
	l.w.tell(record{Kind: "log", Error: string(line)})
	if l.w.Verbose {
		fmt.Fprintf(os.Stderr, "worker %d: %s", l.w.Worker, line)
	}
	return len(line), nil
}

// heartbeat notes when this process was not given a processor in time.
func (w *worker) heartbeat() {
	beat(func(late time.Duration) {
		now := w.now()
		w.tell(record{Kind: "late", Call: call{Worker: w.Worker, Start: now - late, End: now}})
	})
}

// beat calls note with every lateness that is more than a processor's usual.
func beat(note func(late time.Duration)) {
	const every = 50 * time.Millisecond
	for {
		begun := time.Now()
		time.Sleep(every)
		if late := time.Since(begun) - every; late > 250*time.Millisecond {
			note(late)
		}
	}
}

// client is a client of the topology whose connections go through the proxies; those pass keep.
func (e endpoint) client(keep func(net.Conn) net.Conn) redis.UniversalClient {
	var d net.Dialer
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		through, ok := e.Through[addr]
		if !ok {
			return d.DialContext(ctx, network, addr)
		}
		conn, err := d.DialContext(ctx, network, through)
		if err != nil {
			return nil, err
		}
		return keep(conn), nil
	}
	switch e.Topology {
	case topologySentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: e.Master, SentinelAddrs: e.Addrs, Dialer: dial, ContextTimeoutEnabled: true})
	case topologyCluster:
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: e.Addrs, Dialer: dial, ContextTimeoutEnabled: true})
	default:
		return redis.NewClient(&redis.Options{Addr: e.Addrs[0], Dialer: dial, ContextTimeoutEnabled: true})
	}
}

// close ends the library and reports what it left running.
func (w *worker) close() error {
	if err := w.tokens.Close(); err != nil {
		return fmt.Errorf("closing the cache: %w", err)
	}
	w.base.CloseIdleConnections()
	_ = w.rdb.Close()
	return goleak.Find(w.before,
		// This process's own: the heartbeat.
		goleak.IgnoreAnyFunction("github.com/msal-redis/msal-redis-go/bench/faultrun.beat"),
		goleak.IgnoreAnyFunction("main.beat"))
}

// now is the time of the run, by the machine's clock.
func (w *worker) now() time.Duration {
	return time.Duration(time.Now().Add(-time.Duration(w.Clock)*time.Second).UnixNano() - w.Began)
}

// client is an MSAL client of a worker.
type client struct {
	tenant, id string
	cae        bool
}

// capabilityCAE is how a client declares that it can answer the challenges of continuous access evaluation.
const capabilityCAE = "CP1"

func (w *worker) app(c client) (confidential.Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	app, ok := w.apps[c]
	if ok {
		return app, nil
	}
	secret := w.Secret
	if c.id == otherClient {
		secret = w.Other
	}
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return app, err
	}
	options := []confidential.Option{confidential.WithCache(w.tokens), confidential.WithHTTPClient(w.http)}
	if c.cae {
		options = append(options, confidential.WithClientCapabilities([]string{capabilityCAE}))
	}
	app, err = confidential.New("https://login.microsoftonline.com/"+c.tenant, c.id, cred, options...)
	if err == nil {
		w.apps[c] = app
	}
	return app, err
}

// wire is the last thing a token request passes in its process: below MSAL and below the gate.
type wire struct {
	base   http.RoundTripper
	worker int
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/oauth2/v2.0/token") {
		return w.base.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	form.Set(markField, strconv.Itoa(w.worker))
	body = []byte(form.Encode())
	sent := req.Clone(req.Context())
	// Without GetBody net/http does not send it a second time on its own: the emulator is to see what the gate does.
	sent.Body, sent.ContentLength, sent.GetBody = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	return w.base.RoundTrip(sent)
}
