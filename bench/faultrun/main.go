package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

// What the process exits with.
const (
	exitKept        = 0
	exitBroken      = 1 // a rule was not kept
	exitTrouble     = 2 // wrong usage, or the run could not be made
	exitInterrupted = 130
)

func main() {
	redis.SetLogger(quiet{}) // that Redis is away is part of the play
	if subprocess.Role() == workerRole {
		os.Exit(work())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// config is what a run is made with.
type config struct {
	Duration time.Duration
	Seed     uint64
	Topology string
	Only     []string // kinds of faults; empty: all
	Tenants  int
	Users    int
	Behalf   int // on whose behalf an API acts
	Load     int // goroutines in each worker
	Pause    time.Duration
	Clocks   bool
	Mix      []string // see mixes
	// Neighbours: also faults of one worker alone, of its connections, and bursts.
	Neighbours bool
	Rotate     bool
	Plot       string
	JSON       bool
	Verbose    bool
	Log        string
	Again      string
	Terms      terms
}

func parseConfig(args []string, help io.Writer) (*config, error) {
	c := &config{}
	f := pflag.NewFlagSet("faultrun", pflag.ContinueOnError)
	f.SetOutput(help)
	f.SortFlags = false
	f.DurationVar(&c.Duration, "duration", time.Minute, "how long faults are injected")
	f.Uint64Var(&c.Seed, "seed", 0, "of the schedule (default: a random one, which is printed)")
	f.StringVar(&c.Topology, "topology", topologyStandalone, "standalone, sentinel or cluster")
	f.StringSliceVar(&c.Only, "only", nil, "inject only these kinds of faults")
	f.BoolVar(&c.Neighbours, "neighbours", neighboursByDefault,
		"also inject the faults of one worker alone and bursts; --only has them anyway")
	mix := []string{}
	if neighboursByDefault {
		mix = mixes
	}
	f.StringSliceVar(&c.Mix, "mix", mix, "kinds of calls in the load besides plain ones, of "+strings.Join(mixes, ", "))
	f.IntVar(&c.Terms.Workers, "workers", 6, "worker processes")
	f.IntVar(&c.Users, "users", 300, "users who sign in and out")
	f.IntVar(&c.Behalf, "on-behalf-of", 60, "users on whose behalf an API acts")
	f.IntVar(&c.Tenants, "tenants", 150, "tenants")
	f.IntVar(&c.Load, "goroutines", 6, "goroutines in each worker")
	f.DurationVar(&c.Pause, "pause", 40*time.Millisecond, "of a goroutine between two calls, on average")
	f.DurationVar(&c.Terms.OpTimeout, "op-timeout", 2*time.Second,
		"the library's OpTimeout; its default is for a machine that is not busy")
	f.BoolVar(&c.Rotate, "rotate", false, "refresh tokens die when they are redeemed")
	f.BoolVar(&c.Clocks, "clocks", true,
		"two workers' clocks are ten minutes off; building them takes a minute the first time")
	f.BoolVar(&c.JSON, "json", false, "print JSON instead of the table")
	f.StringVar(&c.Plot, "plot", "", "draw a timeline to this SVG `file`")
	f.StringVar(&c.Log, "log", "", "write all calls, requests and faults to this JSON `file`")
	f.StringVar(&c.Again, "check", "", "make no run, and check the `file` that --log wrote")
	f.BoolVar(&c.Verbose, "verbose", false, "show the library's log (stderr)")
	f.Usage = func() {
		fmt.Fprintf(help, "Takes tokens while everything fails, and checks that the library keeps its word.\n\n"+
			"Usage: go run ./bench/faultrun [flags]\n\n%s\nFaults:\n", f.FlagUsages())
		for _, k := range kinds {
			where := ""
			if len(k.topologies) > 0 {
				where = " (" + strings.Join(k.topologies, ", ") + ")"
			}
			fmt.Fprintf(help, "  %-22s %s%s\n", k.name, k.what, where)
		}
		fmt.Fprintf(help, "\nExit status: 0 every rule was kept, 1 one was not, 2 trouble, 130 interrupted.\n")
	}
	c.Terms.LocalTTL, c.Terms.LockTTL = 2*time.Second, 2*time.Second
	c.Terms.CallTimeout, c.Terms.Usable = 20*time.Second, 24*time.Second
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if !f.Changed("seed") {
		c.Seed = rand.Uint64() >> 32
	}
	c.Terms.Rotate = c.Rotate
	return c, c.check()
}

func (c *config) check() error {
	if c.Duration < time.Second {
		return fmt.Errorf("--duration is %v: it must be at least 1s", c.Duration)
	}
	for _, n := range []struct {
		flag       string
		value, min int
	}{{"workers", c.Terms.Workers, 2}, {"users", c.Users, 1}, {"tenants", c.Tenants, 1}, {"goroutines", c.Load, 1},
		{"on-behalf-of", c.Behalf, 0}} {
		if n.value < n.min {
			return fmt.Errorf("--%s is %d: it must be at least %d", n.flag, n.value, n.min)
		}
	}
	if c.Pause <= 0 {
		return fmt.Errorf("--pause is %v: it must be positive", c.Pause)
	}
	if !slices.Contains([]string{topologyStandalone, topologySentinel, topologyCluster}, c.Topology) {
		return fmt.Errorf("--topology: there is no %q, only standalone, sentinel and cluster", c.Topology)
	}
	for _, name := range c.Mix {
		if !slices.Contains(mixes, name) {
			return fmt.Errorf("--mix: there is no %q, only %s", name, strings.Join(mixes, ", "))
		}
	}
	if c.Terms.OpTimeout <= 0 {
		return fmt.Errorf("--op-timeout is %v: it must be positive", c.Terms.OpTimeout)
	}
	for _, name := range c.Only {
		if k := kindNamed(name); k == nil || !k.in(c.Topology) {
			return fmt.Errorf("--only: %s has no fault %q (see --help)", c.Topology, name)
		}
	}
	for _, file := range []struct{ flag, name string }{{"plot", c.Plot}, {"log", c.Log}} {
		if file.name == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(file.name)); err != nil || !info.IsDir() {
			return fmt.Errorf("--%s: there is no folder %s", file.flag, filepath.Dir(file.name))
		}
	}
	return nil
}

// read reads the log of an earlier run.
func (c *config) read() (*history, error) {
	text, err := os.ReadFile(c.Again)
	if err != nil {
		return nil, err
	}
	var l logged
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("%s is no log of a run: %w", c.Again, err)
	}
	c.Seed, c.Topology, c.Duration = l.Seed, l.Topology, l.Duration
	return &l.History, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseConfig(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitKept
	case err != nil:
		fmt.Fprintf(stderr, "faultrun: %v\n(see --help)\n", err)
		return exitTrouble
	}
	var h *history
	if c.Again != "" {
		h, err = c.read()
	} else {
		h, err = play(ctx, c, stderr)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "faultrun: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "faultrun: %v\n", err)
		return exitTrouble
	}
	r := newReport(c, h, check(*h))
	if err := r.write(stdout); err != nil {
		fmt.Fprintf(stderr, "faultrun: %v\n", err)
		return exitTrouble
	}
	if len(r.Violations) > 0 {
		return exitBroken
	}
	return exitKept
}
