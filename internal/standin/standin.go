// Package standin is what the examples talk to where their environment names nothing real: an embedded Redis, the
// emulator of Entra ID, and small APIs at the real ones' names, which behave as those do. It is of no use outside this
// repository: what an example shows is in its own folder.
package standin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Example is one example.
type Example struct {
	Name string
	Help string // what it does, and what it reads of the environment

	// Settings are what the real services need to be named, AZURE_CLIENT_ID, REDIS_URL and TOKEN_CACHE_KEYS aside.
	Settings []string

	// Emulate builds what stands in for the real services. It is not called where AZURE_CLIENT_ID names them.
	Emulate func(*World) error

	// Run is the example.
	Run func(ctx context.Context, w *World, out io.Writer) error
}

// Main is main: --help, Ctrl-C, the World, and at the end what the emulated services saw. Flags of the example's own
// are those of flag.CommandLine.
func Main(e Example) {
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "%s\n\nUsage: go run ./examples/%s [flags]\n",
			strings.TrimSpace(e.Help), e.Name)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q; see --help\n", e.Name, flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	err := e.main(ctx, os.Getenv, os.Stdout)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", e.Name)
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", e.Name, err)
		os.Exit(1)
	}
}

func (e Example) main(ctx context.Context, env func(string) string, out io.Writer) error {
	w, err := Open(e, env)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := e.Run(ctx, w, out); err != nil {
		return err
	}
	return w.report(out)
}

// World is what an example talks to.
type World struct {
	// Network is how requests travel: nil, where the services are the real ones.
	Network http.RoundTripper

	// CacheOptions are nil, the defaults, where Entra ID is the real one.
	CacheOptions *msalredis.Options

	// Entra is nil where Entra ID is the real one.
	Entra *entratest.Server

	env     func(string) string
	set     map[string]string
	servers []*server
	undo    []func()
}

// Open makes the world of an example. Redis and the real services are each taken from the environment on their own
// account. The caller closes it.
func Open(e Example, env func(string) string) (*World, error) {
	w := &World{env: env, set: map[string]string{}}
	if err := w.open(e); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *World) open(e Example) error {
	real := w.env("AZURE_CLIENT_ID") != ""
	if w.env("TOKEN_CACHE_KEYS") == "" {
		if real && w.env("REDIS_URL") != "" {
			return errors.New("TOKEN_CACHE_KEYS is missing: all who share this Redis must have the same; " +
				"make one with: echo 2026a:$(openssl rand -base64 32)")
		}
		key, err := serializer.GenerateKey("demo")
		if err != nil {
			return err
		}
		w.Set("TOKEN_CACHE_KEYS", key.Export())
	}
	if real {
		for _, name := range e.Settings {
			if w.env(name) == "" {
				return fmt.Errorf("%s is missing: with AZURE_CLIENT_ID the real services are used, which need %s",
					name, strings.Join(e.Settings, ", "))
			}
		}
	}
	if w.env("REDIS_URL") == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.StartAddr("127.0.0.1:0"); err != nil {
			return err
		}
		w.undo = append(w.undo, embedded.Close)
		embedded.ClockTTL(true) // what expires does so by its time to live; without this, never
		w.Set("REDIS_URL", "redis://"+embedded.Addr())
	}
	if real {
		return nil
	}
	var err error
	if w.Entra, err = entratest.NewServer(nil); err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = w.Entra.Close() })
	// A client ID of this run's: tokens that an earlier run left in a Redis of one's own are signed by an emulator that is
	// gone.
	clientID, secret := uuid.NewString(), "known to everybody"
	w.Entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	w.Set("AZURE_TENANT_ID", entratest.DefaultTenant)
	w.Set("AZURE_CLIENT_ID", clientID)
	w.Set("AZURE_CLIENT_SECRET", secret)
	// All of it shares a few processors, where the defaults of 250 ms and 5 s may pass before somebody gets a turn.
	w.CacheOptions = &msalredis.Options{OpTimeout: 10 * time.Second, LockTTL: time.Minute}
	transport := w.Entra.Transport()
	w.undo = append(w.undo, transport.CloseIdleConnections)
	w.Network = &network{world: w, entra: transport}
	return e.Emulate(w)
}

// Getenv is os.Getenv, with what is emulated in it.
func (w *World) Getenv(name string) string {
	if v, ok := w.set[name]; ok {
		return v
	}
	return w.env(name)
}

// Set names something emulated.
func (w *World) Set(name, value string) { w.set[name] = value }

// Environ is what is emulated, for another process.
func (w *World) Environ() (env []string) {
	for name, value := range w.set {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// OnClose has f called before what is there already is closed.
func (w *World) OnClose(f func()) { w.undo = append(w.undo, f) }

// Close ends all that was started.
func (w *World) Close() {
	for i := len(w.undo) - 1; i >= 0; i-- {
		w.undo[i]()
	}
	w.undo = nil
}

// report is what the emulated services saw.
func (w *World) report(out io.Writer) error {
	if w.Entra == nil {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nEntra ID (emulated): token requests: %d\n", w.Entra.Count())
	for _, s := range w.servers {
		for _, host := range s.hosts {
			if seen := s.seen(host); err == nil && seen != "" {
				_, err = fmt.Fprintf(out, "%s (a stand-in): answers: %s\n", host, seen)
			}
		}
	}
	return err
}
