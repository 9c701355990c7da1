package harness

import (
	"cmp"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
)

type worker struct {
	cfg    WorkerConfig
	rdb    redis.UniversalClient
	tokens *msalredis.Cache
	base   *http.Transport
	http   *http.Client
	mu     sync.Mutex
	apps   map[string]confidential.Client
	creds  map[string]azcore.TokenCredential

	relieve func()
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
	_ = Canary.collect(Canary.reader) // before Close: hits are counted while the Cache lives
	w.tokens.Close()
	Canary.tell(os.Stderr) // which the parent's canary reads
	w.base.CloseIdleConnections()
	w.rdb.Close()
}

func newWorker(cfg WorkerConfig) (*worker, error) {
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
		Prefix: cfg.Prefix, LocalTTL: cfg.LocalTTL,
		LockTTL: cmp.Or(cfg.LockTTL, lockTTL), OpTimeout: cmp.Or(cfg.OpTimeout, opTimeout),
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Telemetry: msalredisotel.Telemetry{MeterProvider: Canary.meters, TracerProvider: Canary.tracers},
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

// workerRole makes this test binary a worker: one Cache, one confidential client per tenant.
const workerRole = "worker"

func workerMain() int {
	return subprocess.Serve(func(p *subprocess.Parent[Order, Outcome], cfg WorkerConfig) (func(), error) {
		w, err := newWorker(cfg)
		return func() {
			defer w.close()
			p.Answer(w.do)
		}, err
	})
}
