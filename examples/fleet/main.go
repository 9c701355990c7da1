// Command fleet shows what a scaled-out service costs Entra ID, and its callers, with three token caches: plain MSAL, a
// naive GET/SET accessor on Redis, and this library. It needs nothing but Go:
//
//	go run ./examples/fleet
//
// It starts an embedded Redis, an Entra ID emulator, and worker processes with many goroutines each. All three get the
// same load and the same mishaps: a cold start, a worker killed in the middle of its token request, a Redis that goes
// away and comes back. With --full there are also tokens that expire, and an Entra ID that is down or throttles. It
// exits with 1 if the library did not keep its promises, and says which.
//
// Where to read: [work] is what a service does with MSAL and this library; phases.go is what happens to it and what is
// promised; the other files are the stage.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// What the process exits with.
const (
	exitKept        = 0
	exitBroken      = 1 // a promise was not kept
	exitTrouble     = 2 // wrong usage, or the demonstration could not be run
	exitInterrupted = 130
)

func main() {
	redis.SetLogger(quiet{}) // that Redis is away is part of the play
	if os.Getenv(workerMark) != "" {
		os.Exit(work(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseConfig(args, os.Getenv, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitKept
	case err != nil:
		fmt.Fprintf(stderr, "fleet: %v\n(see --help)\n", err)
		return exitTrouble
	}
	if cfg.Redis == "" && !cfg.real() && os.Getenv("REDIS_URL") != "" {
		fmt.Fprintln(stderr, "fleet: Entra ID is emulated, and REDIS_URL is not used")
	}
	rep, err := demonstrate(ctx, cfg, newProgress(stderr))
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "fleet: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "fleet: %v\n", err)
		return exitTrouble
	}
	write := rep.writeTable
	if cfg.JSON {
		write = rep.writeJSON
	}
	if err := write(stdout); err != nil {
		fmt.Fprintf(stderr, "fleet: %v\n", err)
		return exitTrouble
	}
	if cfg.Plot != "" {
		if err := rep.plot(cfg.Plot); err != nil {
			fmt.Fprintf(stderr, "fleet: --plot: %v\n", err)
			return exitTrouble
		}
		fmt.Fprintf(stderr, "fleet: picture written to %s\n", cfg.Plot)
	}
	if !rep.Kept {
		for _, v := range rep.Promises {
			if !v.Kept && !v.Unclear {
				fmt.Fprintf(stderr, "fleet: promise broken: %s\n", v)
			}
		}
		return exitBroken
	}
	return exitKept
}

// demo is what all phases of a run have in common.
type demo struct {
	*config
	entra    *entra
	redis    *redisServer
	key      serializer.Key // made for this run; workers get it through their stdin
	prefix   string         // of this run's keys in Redis
	progress *progress
}

// demonstrate plays every phase with every system, one at a time: they must not take each other's processor.
func demonstrate(ctx context.Context, cfg *config, p *progress) (*report, error) {
	defer p.clear()
	d := &demo{config: cfg, prefix: "fleet-" + randomName(), progress: p}
	var err error
	if d.key, err = serializer.GenerateKey("fleet"); err != nil {
		return nil, err
	}
	if d.entra, err = openEntra(cfg); err != nil {
		return nil, err
	}
	defer d.entra.close()
	if d.redis, err = openRedis(ctx, cfg); err != nil {
		return nil, err
	}
	defer d.redis.close()
	defer d.redis.clean(d.prefix)

	rep := newReport(cfg, d.redis.name)
	p.plan(cfg)
	for _, ph := range cfg.phases() {
		if ph.emulatorOnly && !d.entra.emulated() {
			p.note("%s: left out, it needs the emulator's control over Entra ID", ph.title)
			rep.LeftOut = append(rep.LeftOut, ph.name)
			p.skip(cfg, ph)
			continue
		}
		for _, sys := range cfg.systems() {
			o, err := d.play(ctx, ph, sys)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", ph.title, sys.title, err)
			}
			rep.add(ph, o)
		}
	}
	return rep, nil
}

// play is one phase with one system. Each begins with new processes and nothing in Redis, so that phases can be chosen
// freely.
func (d *demo) play(ctx context.Context, ph *phase, sys system) (o *outcome, err error) {
	o = &outcome{Phase: ph.name, System: sys.name, cfg: d.config}
	d.progress.begin(sys.title+", "+ph.title, ph.takes(d.config)+toLaunch, d.entra.count)
	defer func() { d.progress.end(o, err) }()

	d.entra.reset(d.config)
	s := &stage{demo: d, outcome: o, system: sys, prefix: fmt.Sprintf("%s:%s-%s", d.prefix, ph.name, sys.name)}
	if s.fleet, err = s.launch(ctx, 0, d.Workers); err != nil {
		return nil, err
	}
	defer s.fleet.stop()
	if err = ph.act(ctx, s); err != nil {
		return nil, err
	}
	o.settle(d.entra.requests(s.reported))
	return o, ctx.Err()
}

// launch starts n workers, numbered from first.
func (s *stage) launch(ctx context.Context, first, n int) (*fleet, error) {
	base := setup{
		System: s.system.name, Prefix: s.prefix, Keys: s.key.Export(),
		Redis: s.redis.url, RedisAddr: s.redis.proxy.addr(),
		ClientID: s.entra.clientID, Secret: s.entra.secret,
		Goroutines: s.Goroutines, Seed: s.Seed, LockTTL: s.leaseFor(), Verbose: s.Verbose, WithoutGate: s.WithoutGate,
	}
	if s.entra.emulated() {
		base.Entra, base.CA = s.entra.emulator.Host(), s.entra.emulator.CAPEM()
	}
	s.processes += n
	return startFleet(ctx, first, n, base)
}

// leaseFor is the library's LockTTL. A leader that stands still for longer loses its lease, and another one asks as
// well, rightly. On a busy machine all stand still now and then. So leases are short only in the phase that waits for
// the end of one.
func (s *stage) leaseFor() time.Duration {
	if s.Phase == "kill" {
		return s.LockTTL
	}
	return callTimeout
}

func randomName() string {
	b := make([]byte, 5)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// atMost is a generous bound on the time of what should take about d, for machines that are busy with other things.
func atMost(d time.Duration) time.Duration { return 2*d + 5*time.Second }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
