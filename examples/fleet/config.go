package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"
)

type config struct {
	Workers    int           `json:"workers"`
	Goroutines int           `json:"goroutines"`
	Tenants    int           `json:"tenants"`
	Scopes     int           `json:"scopes"`
	Latency    time.Duration `json:"latency_ns"`
	Life       time.Duration `json:"life_ns"`
	LockTTL    time.Duration `json:"lock_ttl_ns"`
	Phases     []string      `json:"phases"`
	Systems    []string      `json:"systems"`
	Seed       uint64        `json:"seed"`
	Full       bool          `json:"full"`

	Redis       string `json:"-"` // may hold a password
	RedisBy     string `json:"-"` // the flag or the variable that names it
	JSON        bool   `json:"-"`
	Plot        string `json:"-"`
	Verbose     bool   `json:"-"`
	WithoutGate bool   `json:"without_gate,omitempty"`

	// The real Entra ID, where all are given.
	Tenant    string   `json:"-"`
	ClientID  string   `json:"-"`
	Secret    string   `json:"-"`
	RealScope []string `json:"-"`
}

// system is one way to cache tokens.
type system struct{ name, title string }

const (
	plainMSAL   = "plain"
	naiveRedis  = "naive"
	thisLibrary = "library"
)

var allSystems = []system{
	{plainMSAL, "plain MSAL"},
	{naiveRedis, "naive GET/SET"},
	{thisLibrary, "this library"},
}

// How long MSAL uses a token, unless told otherwise.
const (
	shortLife = 2 * time.Second
	fullLife  = 4 * time.Second
)

// parseConfig returns pflag.ErrHelp where help was asked for, and has written it then.
func parseConfig(args []string, env func(string) string, help io.Writer) (*config, error) {
	cfg := &config{
		Tenant: env("AZURE_TENANT_ID"), ClientID: env("AZURE_CLIENT_ID"), Secret: env("AZURE_CLIENT_SECRET"),
	}
	f := pflag.NewFlagSet("fleet", pflag.ContinueOnError)
	f.SetOutput(help)
	f.SortFlags = false
	f.IntVar(&cfg.Workers, "workers", 8, "worker processes")
	f.IntVar(&cfg.Goroutines, "goroutines", 32, "goroutines in each, which all want every token")
	f.IntVar(&cfg.Tenants, "tenants", 4, "tenants (one MSAL client for each, as MSAL advises)")
	f.IntVar(&cfg.Scopes, "scopes", 2, "scopes in each tenant")
	f.DurationVar(&cfg.Latency, "latency", 300*time.Millisecond, "how long Entra ID takes to answer")
	f.BoolVar(&cfg.Full, "full", false, "play all phases, with tokens that live 4 s: about two minutes more")
	f.DurationVar(&cfg.Life, "life", shortLife, "the life of a token for MSAL, in whole seconds (with --full: 4s)")
	f.DurationVar(&cfg.LockTTL, "lock-ttl", 2*time.Second,
		"the library's Options.LockTTL where a leader is killed: how long the others wait at most for its lease")
	f.StringSliceVar(&cfg.Phases, "phases", shortPhases(), "what to play (with --full: all)")
	f.StringSliceVar(&cfg.Systems, "systems", systemNames(), "what to compare")
	// The variable is not the flag's default: --help shows those, and this one may hold a password.
	f.StringVar(&cfg.Redis, "redis", "",
		"a Redis to use instead of the one inside the demonstration, as in redis://:password@host:6379/0; keys of this run "+
			"only, removed at its end; REDIS_URL is read with the real Entra ID only")
	f.StringSliceVar(&cfg.RealScope, "scope", fields(env("AZURE_SCOPE")),
		"scopes at the real Entra ID (default: $AZURE_SCOPE); used with AZURE_TENANT_ID, AZURE_CLIENT_ID and "+
			"AZURE_CLIENT_SECRET instead of the emulator")
	f.BoolVar(&cfg.JSON, "json", false, "print JSON instead of the table")
	f.StringVar(&cfg.Plot, "plot", "", "draw an SVG picture to this `file`")
	f.Uint64Var(&cfg.Seed, "seed", 1, "of the order in which goroutines ask for tokens")
	f.BoolVar(&cfg.Verbose, "verbose", false, "show the library's log (stderr)")
	f.BoolVar(&cfg.WithoutGate, "without-gate", false, "")
	// Breaks the promises on purpose: the library's accessor without its HTTP client.
	_ = f.MarkHidden("without-gate")
	f.Usage = func() {
		fmt.Fprintf(help, "What a fleet of processes costs Entra ID with plain MSAL, a naive Redis\n"+
			"accessor, and this library.\n\nUsage: go run ./examples/fleet [flags]\n\n%s\nPhases:\n", f.FlagUsagesWrapped(80))
		for _, ph := range allPhases {
			fmt.Fprintf(help, "  %-9s %s\n", ph.name, folded(ph.what, 12))
		}
		fmt.Fprintf(help, "\nExit status: 0 no promise of the library was broken, 1 one was, 2 trouble,\n130 interrupted.\n")
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	cfg.RedisBy = "--redis"
	if !f.Changed("redis") && cfg.real() {
		cfg.Redis, cfg.RedisBy = env("REDIS_URL"), "REDIS_URL"
	}
	if cfg.Full && !f.Changed("phases") {
		cfg.Phases = phaseNames()
	}
	if cfg.Full && !f.Changed("life") {
		cfg.Life = fullLife
	}
	return cfg, cfg.check()
}

// folded breaks a text so that it fits 80 columns to the right of an indent.
func folded(text string, indent int) string {
	var b strings.Builder
	column := indent
	for _, word := range strings.Fields(text) {
		switch {
		case b.Len() == 0:
		case column+1+len(word) > 80:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

func (c *config) check() error {
	for _, n := range []struct {
		flag  string
		value int
	}{{"workers", c.Workers}, {"goroutines", c.Goroutines}, {"tenants", c.Tenants}, {"scopes", c.Scopes}} {
		if n.value < 1 {
			return fmt.Errorf("--%s is %d: it must be at least 1", n.flag, n.value)
		}
	}
	switch {
	case c.Latency < 0:
		return fmt.Errorf("--latency is %v: it must not be negative", c.Latency)
	case c.Life < 2*time.Second || c.Life%time.Second != 0:
		return fmt.Errorf("--life is %v: it must be whole seconds, at least 2s", c.Life)
	case c.LockTTL < 100*time.Millisecond:
		return fmt.Errorf("--lock-ttl is %v: it must be at least 100ms", c.LockTTL)
	}
	if len(c.Phases) == 0 || len(c.Systems) == 0 {
		return errors.New("--phases and --systems: there must be one of each at least")
	}
	for _, name := range c.Phases {
		if phaseNamed(name) == nil {
			return fmt.Errorf("--phases: there is no %q, only %s", name, strings.Join(phaseNames(), ", "))
		}
		if name == "kill" && c.Workers < 2 {
			return errors.New("--workers is 1: the phase kill needs another one to go on")
		}
	}
	for _, name := range c.Systems {
		if !slices.Contains(systemNames(), name) {
			return fmt.Errorf("--systems: there is no %q, only %s", name, strings.Join(systemNames(), ", "))
		}
	}
	if c.Redis != "" {
		if _, err := redis.ParseURL(c.Redis); err != nil {
			// err may quote the password
			return fmt.Errorf("%s: not a Redis URL such as redis://:password@host:6379/0: %s", c.RedisBy, c.withoutRedis())
		}
	}
	if c.Plot != "" { // found now, and not at the end of the run
		if info, err := os.Stat(filepath.Dir(c.Plot)); err != nil || !info.IsDir() {
			return fmt.Errorf("--plot: there is no folder %s", filepath.Dir(c.Plot))
		}
		if info, err := os.Stat(c.Plot); err == nil && info.IsDir() {
			return fmt.Errorf("--plot: %s is a folder", c.Plot)
		}
	}
	given := 0
	for _, v := range []string{c.Tenant, c.ClientID, c.Secret} {
		if v != "" {
			given++
		}
	}
	switch {
	case len(c.RealScope) > 0 && given < 3:
		return errors.New("a scope is given: the real Entra ID needs AZURE_TENANT_ID, AZURE_CLIENT_ID and " +
			"AZURE_CLIENT_SECRET as well")
	case len(c.RealScope) > 0:
		c.Tenants, c.Scopes = 1, len(c.RealScope)
	}
	return nil
}

// withoutRedis says how to do without the Redis that was named.
func (c *config) withoutRedis() string {
	if c.RedisBy == "REDIS_URL" {
		return "unset it to use the one inside the demonstration"
	}
	return "leave it out to use the one inside the demonstration"
}

// refreshFor is how long the phase refresh takes.
func (c *config) refreshFor() time.Duration {
	if c.Full {
		return 3 * c.Life
	}
	return 2 * c.Life
}

// real tells whether the real Entra ID is asked. Without a scope nobody is: credentials may be in the environment for
// other reasons.
func (c *config) real() bool { return len(c.RealScope) > 0 }

// tokens are the distinct tokens of the load.
func (c *config) tokens() []token {
	var out []token
	if c.real() {
		for _, scope := range c.RealScope {
			out = append(out, token{c.Tenant, scope})
		}
		return out
	}
	for t := range c.Tenants {
		for s := range c.Scopes {
			out = append(out, token{fmt.Sprintf("tenant-%d.example.com", t),
				fmt.Sprintf("https://api-%d.example.com/.default", s)})
		}
	}
	return out
}

func (c *config) phases() (out []*phase) {
	for _, ph := range allPhases {
		if slices.Contains(c.Phases, ph.name) {
			out = append(out, ph)
		}
	}
	return out
}

func (c *config) systems() (out []system) {
	for _, s := range allSystems {
		if slices.Contains(c.Systems, s.name) {
			out = append(out, s)
		}
	}
	return out
}

func systemNames() (out []string) {
	for _, s := range allSystems {
		out = append(out, s.name)
	}
	return out
}

func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
