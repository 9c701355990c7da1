// Package standin is what the examples talk to where their environment names nothing real: an embedded Redis, the
// emulator of Entra ID, and small APIs at the real ones' names, which behave as those do.
//
// An example's own files do not know of it, so that they can be copied: they read the environment and use
// http.DefaultTransport, as a service does. A file of its own, emulated.go, calls [Stage] before main.
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
	"sync"
	"syscall"
	"testing"
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

	// Run is the example where it is emulated. Elsewhere that is main's.
	Run func(ctx context.Context, out io.Writer, w *World) error

	// Cache are the options of the example's Cache, which an emulated one may have to wait longer for.
	Cache *msalredis.Options

	// RedisURL is, for tests, the Redis of what is emulated. Default: an embedded one.
	RedisURL string
}

// Stage is called by an example's init. It sees to --help and to arguments that are wrong. Where the environment names
// the real services it returns, and main goes on. Elsewhere it runs the example with what stands in for them, tells
// what those saw, and ends the process. The example's flags are those of flag.CommandLine, and are defined by now.
func Stage(e Example) {
	if testing.Testing() {
		return
	}
	if Settle(e) {
		return
	}
	NoArguments(e.Name, e.Help)
	if os.Getenv("AZURE_CLIENT_ID") != "" {
		if err := e.check(os.Getenv); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", e.Name, err)
			os.Exit(2)
		}
		return
	}
	if os.Getenv("REDIS_URL") != "" {
		fmt.Fprintf(os.Stderr, "%s: AZURE_CLIENT_ID is not set, so all is emulated, and REDIS_URL is not used\n", e.Name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	StopWithParent(stop)
	Exit(ctx, e.Name, e.emulated(ctx, os.Stdout))
}

// Exit ends the process with the status that says how it went: 130 after Ctrl-C, 1 after an error, else 0.
func Exit(ctx context.Context, name string, err error) {
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", name)
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// NoArguments parses the command line of a program that takes flags alone.
func NoArguments(name, help string) {
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "%s\n\nUsage: go run ./examples/%s [flags]\n", strings.TrimSpace(help), name)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q; see --help\n", name, flag.Arg(0))
		os.Exit(2)
	}
}

// StopWithParent calls stop when the process that started this one is gone, as "go run" is that was killed.
func StopWithParent(stop func()) {
	parent := os.Getppid()
	go func() {
		for range time.Tick(time.Second) {
			if os.Getppid() != parent {
				stop()
				return
			}
		}
	}()
}

func (e Example) emulated(ctx context.Context, out io.Writer) error {
	w, err := Open(e, func(string) string { return "" })
	if err != nil {
		return err
	}
	defer w.Close()
	defer w.Install()()
	if err := e.Run(ctx, out, w); err != nil {
		return err
	}
	return w.report(out)
}

// check tells what the real services lack.
func (e Example) check(env func(string) string) error {
	for _, name := range append(e.Settings, "REDIS_URL") {
		if env(name) == "" {
			return fmt.Errorf("%s is missing: with AZURE_CLIENT_ID the real services are used, which need %s, REDIS_URL and "+
				"TOKEN_CACHE_KEYS; without it all is emulated", name, strings.Join(e.Settings, ", "))
		}
	}
	if env("TOKEN_CACHE_KEYS") == "" {
		return errors.New("TOKEN_CACHE_KEYS is missing: all who share this Redis must have the same; make one with: " +
			"go run ./cmd/msalredis keygen")
	}
	return nil
}

// World is what an example talks to.
type World struct {
	// Network is how requests travel: nil, where the services are the real ones.
	Network http.RoundTripper

	// CacheOptions are nil, the defaults, where Entra ID is the real one.
	CacheOptions *msalredis.Options

	// Entra is nil where Entra ID is the real one.
	Entra *entratest.Server

	env       func(string) string
	set       map[string]string
	transport *http.Transport // Network, where all is emulated
	servers   []*server
	undo      []func()
}

// Open makes the world of an example: all is what env names, if AZURE_CLIENT_ID names the real services there, and else
// all is emulated. The caller closes it.
func Open(e Example, env func(string) string) (*World, error) {
	w := &World{env: env, set: map[string]string{}}
	if err := w.open(e); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *World) open(e Example) error {
	if w.env("AZURE_CLIENT_ID") != "" {
		return e.check(w.env)
	}
	key, err := serializer.GenerateKey("demo")
	if err != nil {
		return err
	}
	w.Set("TOKEN_CACHE_KEYS", key.Export())
	w.Set("REDIS_URL", e.RedisURL)
	if e.RedisURL == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.StartAddr("127.0.0.1:0"); err != nil {
			return err
		}
		w.undo = append(w.undo, embedded.Close)
		embedded.ClockTTL(true) // what expires does so by its time to live; without this, never
		w.Set("REDIS_URL", "redis://"+embedded.Addr())
	}
	if w.Entra, err = entratest.NewServer(nil); err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = w.Entra.Close() })
	clientID, secret := uuid.NewString(), "known to everybody"
	w.Entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	w.Set("AZURE_TENANT_ID", entratest.DefaultTenant)
	w.Set("AZURE_CLIENT_ID", clientID)
	w.Set("AZURE_CLIENT_SECRET", secret)
	if w.CacheOptions = e.Cache; e.Cache == nil {
		w.CacheOptions = &msalredis.Options{}
	}
	patient(w.CacheOptions)
	w.transport = w.network()
	w.Network = w.transport
	w.undo = append(w.undo, w.transport.CloseIdleConnections)
	return e.Emulate(w)
}

// patient makes a Cache wait longer: all that is emulated shares a few processors, where the defaults may pass before
// somebody gets a turn.
func patient(o *msalredis.Options) {
	if o != nil {
		o.OpTimeout, o.LockTTL = 10*time.Second, time.Minute
	}
}

// Install makes the world that of this process: its environment variables, and http.DefaultTransport.
func (w *World) Install() (undo func()) {
	restore := []func(){}
	for name, value := range w.set {
		before, was := os.LookupEnv(name)
		_ = os.Setenv(name, value) // an error is of a name that none of ours has
		restore = append(restore, func() {
			if was {
				_ = os.Setenv(name, before)
			} else {
				_ = os.Unsetenv(name)
			}
		})
	}
	if w.Network != nil {
		before := http.DefaultTransport
		http.DefaultTransport = w.Network
		restore = append(restore, func() { http.DefaultTransport = before })
	}
	return func() {
		for _, f := range restore {
			f()
		}
	}
}

var oneAtATime sync.Mutex

// ForTest opens an emulated world and installs it for as long as a test runs. There is one such test at a time.
func ForTest(t testing.TB, e Example) *World {
	t.Helper()
	oneAtATime.Lock()
	t.Cleanup(oneAtATime.Unlock)
	w, err := Open(e, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	t.Cleanup(w.Install())
	return w
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

// Environ is what is emulated, and where, for another process.
func (w *World) Environ() (env []string) {
	if w.Entra != nil {
		env = append(env, placeVariable+"="+w.place())
	}
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
