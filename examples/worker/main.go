// Command worker is one instance of a fleet, for the docker-compose.yml of this repository: it takes tokens steadily
// through a shared Redis and says what that cost. With --emulator it is the Entra ID that the fleet asks.
//
//	docker compose up --build --scale worker=5
//
// To see the library beside plain MSAL, run examples/fleet instead; it needs no Docker.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// The emulator's one app registration. There is nothing behind it, so its secret is none.
const (
	clientID     = "33333333-3333-4333-8333-333333333333"
	clientSecret = "known to everybody"
	scope        = "https://graph.microsoft.com/.default"
)

type config struct {
	every, duration time.Duration

	// the emulator's
	listen, caListen  string
	lifetime, latency time.Duration

	// the worker's
	redis, entra, ca   string
	tenants, gophers   int
	pause, waitForEmul time.Duration
	opTimeout          time.Duration
	metrics            string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "worker:", err)
		stop()
		os.Exit(status(err))
	}
}

// errUsage is that a flag, an argument or an environment variable must be changed; the error around it says which.
type errUsage struct{ error }

func (e errUsage) Unwrap() error { return e.error }

// status is the exit status for an error.
func status(err error) int {
	if errors.As(err, &errUsage{}) || errors.Is(err, connect.ErrURL) || errors.Is(err, serializer.ErrKeys) {
		return 2
	}
	return 1
}

const help = `worker takes tokens steadily through a shared Redis. It is what
docker-compose.yml scales:

    docker compose up --build --scale worker=5

By hand, in three terminals, with a redis-server on localhost:

    worker --emulator
    worker --redis redis://127.0.0.1:6379
    worker --redis redis://127.0.0.1:6379

TOKEN_CACHE_KEYS holds the sealing keys, the same for every worker: "2026a:" and
the output of openssl rand -base64 32. Ctrl-C ends a worker and prints its
totals.

`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c config
	var emulator bool
	f := flag.NewFlagSet("worker", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, help)
		f.PrintDefaults()
	}
	f.DurationVar(&c.every, "every", 10*time.Second, "time between two lines of output")
	f.DurationVar(&c.duration, "duration", 0, "end after this time (default: run until ctrl-C)")
	f.BoolVar(&emulator, "emulator", false, "be the Entra ID emulator instead of a worker")
	f.StringVar(&c.listen, "listen", "127.0.0.1:8443", "emulator: `address` of the token endpoint, TLS")
	f.StringVar(&c.caListen, "ca-listen", "127.0.0.1:8080",
		"emulator: `address` that hands out the CA certificate, plain HTTP\n")
	f.DurationVar(&c.lifetime, "lifetime", 6*time.Minute,
		"emulator: life of a token; MSAL does not use its last five minutes\n")
	f.DurationVar(&c.latency, "latency", 300*time.Millisecond, "emulator: time that a token request takes")
	f.StringVar(&c.redis, "redis", "", "worker: `URL` of Redis. The tokens are the emulator's: REDIS_URL is not used")
	f.StringVar(&c.entra, "entra", "127.0.0.1:8443", "worker: `address` of the emulator")
	f.StringVar(&c.ca, "ca", "http://127.0.0.1:8080/ca.pem", "worker: `URL` of the emulator's CA certificate\n")
	f.DurationVar(&c.waitForEmul, "wait", time.Minute, "worker: how long to wait for the emulator to start")
	f.DurationVar(&c.opTimeout, "op-timeout", 250*time.Millisecond,
		"worker: bound of a Redis operation (Options.OpTimeout)")
	f.IntVar(&c.tenants, "tenants", 10, "worker: how many tenants it takes tokens of")
	f.IntVar(&c.gophers, "goroutines", 32, "worker: how many goroutines take tokens")
	f.DurationVar(&c.pause, "pause", 10*time.Millisecond, "worker: pause of a goroutine between two tokens")
	f.StringVar(&c.metrics, "metrics", "",
		"worker: `address` at which Prometheus finds /metrics, plain HTTP\n(default: none)")
	err := f.Parse(args)
	switch {
	case err != nil:
		return errUsage{err}
	case f.NArg() > 0:
		return errUsage{fmt.Errorf("unexpected argument %q; see --help", f.Arg(0))}
	case c.every <= 0:
		return errUsage{errors.New("--every must be above zero")}
	case c.tenants < 1 || c.gophers < 1:
		return errUsage{errors.New("--tenants and --goroutines must be above zero")}
	case !emulator && c.redis == "":
		return errUsage{errors.New("--redis is missing, as in --redis redis://127.0.0.1:6379; REDIS_URL is not used")}
	}
	if c.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.duration)
		defer cancel()
	}
	if emulator {
		return runEmulator(ctx, c, stdout)
	}
	return runWorker(ctx, c, stdout)
}
