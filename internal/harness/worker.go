package harness

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
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
		Prefix: cfg.Prefix, LocalTTL: cfg.LocalTTL, LockTTL: cfg.LockTTL, OpTimeout: cmp.Or(cfg.OpTimeout, 10*time.Second),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), MeterProvider: Canary.meters, TracerProvider: Canary.tracers,
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
	var cfg WorkerConfig
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
		var o Order
		if err != nil || json.Unmarshal(line, &o) != nil {
			return 2
		}
		answer, _ := json.Marshal(w.do(o))
		fmt.Printf("%s\n", answer)
	}
}

// A worker is this test binary in another process: one Cache, one confidential client per tenant, orders on its
// standard input, outcomes on its standard output, its log on standard error.

const workerEnv = "MSALREDIS_TEST_WORKER"
