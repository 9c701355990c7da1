package msalredis_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// A worker is this test binary in another process: one Cache, one confidential client per tenant, orders on its
// standard input, outcomes on its standard output, its log on standard error.

const workerEnv = "MSALREDIS_TEST_WORKER"

type workerConfig struct {
	Redis                   address
	Prefix, Keys, Entra, CA string
	// Zero: LocalTTL and LockTTL their defaults; OpTimeout generous, because what these tests count must not depend on
	// a machine that starves a process for a quarter of a second, which counts as a Redis that is away.
	LocalTTL, LockTTL, OpTimeout time.Duration
	Pressed                      int // goroutines that allocate all the time
}

// order is what a worker does: N goroutines acquire the same thing at once.
type order struct {
	Op        string // app, silent, obo, azsecret, azcert, signout
	Tenant    string
	Scopes    []string
	Account   string
	Assertion string
	N         int
	CertPEM   string        // azcert: certificate and key
	Timeout   time.Duration // of each caller's context
	Split     bool          // each scope in a goroutine of its own rather than all in one request
	Accounts  int           // silent: of as many users of manyAccounts, by chance
	Calls     int           // of each goroutine; 0: one
}

type outcome struct {
	Errors  []string
	Tokens  []string // hashes
	Slowest time.Duration
	Now     int64 // the worker's clock, in seconds
}

func workerMain() int {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	line, err := in.ReadString('\n')
	if err != nil {
		return 2
	}
	text, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return 2
	}
	var cfg workerConfig
	if err := json.Unmarshal(text, &cfg); err != nil {
		return 2
	}
	w, err := newWorker(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 2
	}
	defer w.close()
	fmt.Println("ready")
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return 0
		}
		var o order
		if err != nil || json.Unmarshal(line, &o) != nil {
			return 2
		}
		answer, _ := json.Marshal(w.do(o))
		fmt.Printf("%s\n", answer)
	}
}

type worker struct {
	cfg    workerConfig
	rdb    redis.UniversalClient
	tokens *msalredis.Cache
	base   *http.Transport
	http   *http.Client
	mu     sync.Mutex
	apps   map[string]confidential.Client
	creds  map[string]azcore.TokenCredential

	relieve func()
}

func newWorker(cfg workerConfig) (*worker, error) {
	keys, err := serializer.ParseKeys(cfg.Keys)
	if err != nil {
		return nil, err
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, err
	}
	rdb, err := cfg.Redis.open()
	if err != nil {
		return nil, err
	}
	w := &worker{cfg: cfg, rdb: rdb, apps: map[string]confidential.Client{}, creds: map[string]azcore.TokenCredential{}}
	w.tokens, err = msalredis.New(w.rdb, sealer, &msalredis.Options{
		Prefix: cfg.Prefix, LocalTTL: cfg.LocalTTL, LockTTL: cfg.LockTTL, OpTimeout: cmp.Or(cfg.OpTimeout, 10*time.Second),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), MeterProvider: canary.meters, TracerProvider: canary.tracers,
	})
	if err != nil {
		return nil, err
	}
	if w.base, err = entratest.Transport(cfg.Entra, []byte(cfg.CA)); err != nil {
		return nil, err
	}
	w.http = &http.Client{Transport: w.tokens.Transport(w.base)}
	if cfg.Pressed > 0 {
		w.press(cfg.Pressed)
	}
	return w, nil
}

// press has n goroutines, and the garbage collector, use the processors until close.
func (w *worker) press(n int) {
	debug.SetGCPercent(5)
	done := make(chan struct{})
	w.relieve = func() { close(done) }
	for range n {
		go func() {
			var kept [64][]byte
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
					kept[n%len(kept)] = make([]byte, 64<<10)
				}
			}
		}()
	}
}

func (w *worker) close() {
	if w.relieve != nil {
		w.relieve()
	}
	_ = canary.collect(canary.reader) // before Close: hits are counted while the Cache lives
	w.tokens.Close()
	canary.tell(os.Stderr) // which the parent's canary reads
	w.base.CloseIdleConnections()
	w.rdb.Close()
}

func (w *worker) app(tenant string) (confidential.Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	app, ok := w.apps[tenant]
	if !ok {
		var err error
		if app, err = makeApp("https://login.microsoftonline.com/"+tenant, w.tokens, w.http); err != nil {
			return app, err
		}
		w.apps[tenant] = app
	}
	return app, nil
}

func (w *worker) do(o order) outcome {
	if o.Tenant == "" {
		o.Tenant = tenant
	}
	n := max(1, o.N)
	sets := [][]string{o.Scopes}
	if o.Split {
		sets = nil
		for _, s := range o.Scopes {
			sets = append(sets, []string{s})
		}
	}
	out := outcome{Now: time.Now().Unix()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range n {
		for _, scopes := range sets {
			wg.Go(func() {
				<-start
				ctx := context.Background()
				if o.Timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, o.Timeout)
					defer cancel()
				}
				for range max(1, o.Calls) {
					begun := time.Now()
					token, err := w.acquire(ctx, o, scopes)
					took := time.Since(begun)
					mu.Lock()
					out.Slowest = max(out.Slowest, took)
					if err != nil {
						out.Errors = append(out.Errors, err.Error())
					} else {
						out.Tokens = append(out.Tokens, hashOf(token))
					}
					mu.Unlock()
				}
			})
		}
	}
	close(start)
	wg.Wait()
	return out
}

func (w *worker) acquire(ctx context.Context, o order, scopes []string) (string, error) {
	if o.Op == "azsecret" || o.Op == "azcert" {
		cred, err := w.credential(o)
		if err != nil {
			return "", err
		}
		token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: scopes})
		return token.Token, err
	}
	if o.Op == "signout" {
		return "", w.tokens.RemoveAccount(ctx, o.Account)
	}
	app, err := w.app(o.Tenant)
	if err != nil {
		return "", err
	}
	var result confidential.AuthResult
	switch o.Op {
	case "app":
		result, err = app.AcquireTokenByCredential(ctx, scopes)
	case "silent":
		account := o.Account
		if o.Accounts > 0 {
			account = manyAccount(rand.N(o.Accounts))
		}
		result, err = silent(ctx, app, account, scopes...)
	case "obo":
		result, err = app.AcquireTokenOnBehalfOf(ctx, o.Assertion, scopes)
	default:
		err = fmt.Errorf("no such order: %s", o.Op)
	}
	return result.AccessToken, err
}

// credential is one Azure SDK credential per kind, with the gate as its transport and no accessor.
func (w *worker) credential(o order) (azcore.TokenCredential, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cred, ok := w.creds[o.Op]; ok {
		return cred, nil
	}
	options := azcore.ClientOptions{Transport: w.http}
	var cred azcore.TokenCredential
	var err error
	if o.Op == "azsecret" {
		cred, err = azidentity.NewClientSecretCredential(o.Tenant, clientID, clientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	} else {
		certs, key, perr := azidentity.ParseCertificates([]byte(o.CertPEM), nil)
		if perr != nil {
			return nil, perr
		}
		cred, err = azidentity.NewClientCertificateCredential(o.Tenant, clientID, certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: options})
	}
	if err == nil {
		w.creds[o.Op] = cred
	}
	return cred, err
}
