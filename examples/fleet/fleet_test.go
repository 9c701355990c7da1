package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// programEnv makes the test's binary the program. The workers it starts are this binary again.
const programEnv = "MSALREDIS_TEST_AS_FLEET"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience is for what should take a second, or all phases a minute, on a machine that is busy.
const patience = 3 * time.Minute

// small is a run of seconds. Each flag may be given again.
var small = []string{"--workers=2", "--goroutines=4", "--tenants=2", "--scopes=1", "--latency=100ms",
	"--life=2s", "--lock-ttl=1s"}

// program is the fleet as a user starts it, without a terminal.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr output
}

func start(t *testing.T, args ...string) *program { return startWith(t, "", args...) }

// startWith is start with a $REDIS_URL.
func startWith(t *testing.T, redisURL string, args ...string) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(exe, args...)}
	// The environment of the test's machine must not choose the Redis or the Entra ID.
	p.cmd.Env = append(os.Environ(), programEnv+"=1", "REDIS_URL="+redisURL, "AZURE_SCOPE=", "AZURE_TENANT_ID=",
		"AZURE_CLIENT_ID=", "AZURE_CLIENT_SECRET=",
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0") // a second for each of dozens of processes, by default
	// Both are pipes, and the workers have the second one too: Wait returns when nobody holds it any more, and so shows
	// that no worker is left.
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that a test can do what a terminal does at Ctrl-C
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() }) // the workers end with it
	return p
}

// output is what a program has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait returns the exit status, once the program and all its workers have ended.
func (p *program) wait(within time.Duration) int {
	p.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("it, or one of its workers, has not ended after %v; stderr:\n%s", within, p.stderr.String())
		return -1
	}
}

func (p *program) mustExit(want int) {
	p.t.Helper()
	if got := p.wait(patience); got != want {
		p.t.Fatalf("exit status %d, want %d; stdout:\n%s\nstderr:\n%s", got, want, p.stdout.String(), p.stderr.String())
	}
}

// report is the --json of a run; the run must have printed nothing else.
func (p *program) report() *report {
	p.t.Helper()
	var r report
	d := json.NewDecoder(strings.NewReader(p.stdout.String()))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		p.t.Fatalf("--json: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		p.t.Errorf("after the JSON there is more:\n%s", p.stdout.String())
	}
	return &r
}

// TestPhases plays the phases that wait for no token's end, and holds what was counted against the promises once more.
func TestPhases(t *testing.T) {
	t.Parallel()
	plays(t, phaseNamed("cold"), phaseNamed("kill"))
}

func TestLongAllPhases(t *testing.T) {
	long.Test(t)
	t.Parallel()
	plays(t, allPhases...)
}

func plays(t *testing.T, phases ...*phase) {
	svg := filepath.Join(t.TempDir(), "fleet.svg")
	p := start(t, append(small, "--json", "--plot", svg, "--phases", strings.Join(names(phases), ","))...)
	p.mustExit(exitKept)
	r := p.report()
	const workers, goroutines, tokens = 2, 4, 2
	if len(r.Results) != len(phases)*len(allSystems) || len(r.LeftOut) > 0 {
		t.Fatalf("%d results, left out: %v", len(r.Results), r.LeftOut)
	}
	if !r.Kept || r.EntraID != "emulator" || !strings.Contains(r.Redis, "miniredis") || r.Config.Workers != workers {
		t.Errorf("the report: %+v", r)
	}
	promised := 0
	for _, ph := range phases {
		promised += len(ph.promises)
	}
	if len(r.Promises) != promised {
		t.Errorf("%d promises of %d were looked at", len(r.Promises), promised)
	}
	for _, v := range r.Promises {
		if !v.Kept && !v.Unclear {
			t.Errorf("broken: %v", v)
		}
	}

	plain := func(phase string) *outcome { return r.outcome(phase, plainMSAL) }
	ours := func(phase string) *outcome { return r.outcome(phase, thisLibrary) }
	if o := ours("cold"); o.Requests != tokens || o.Tokens != tokens || o.Calls != workers*goroutines*tokens {
		t.Errorf("cold, this library: %+v", o)
	}
	if o := plain("cold"); o.Requests < workers*tokens {
		t.Errorf("cold, plain MSAL: %d token requests by %d processes for %d tokens", o.Requests, workers, tokens)
	}
	for _, ph := range phases {
		o, without := ours(ph.name), plain(ph.name)
		if o.Requests < 1 || o.Requests >= without.Requests {
			t.Errorf("%s: %d token requests, without the library %d", ph.name, o.Requests, without.Requests)
		}
		switch ph.name {
		case "down":
			if o.Errors > 0 || without.Errors == 0 {
				t.Errorf("%s: %q; without the library %d errors", ph.name, o.FirstError, without.Errors)
			}
		case "throttled":
			if o.Errors == 0 || without.Errors == 0 {
				t.Errorf("%s: no error, though nobody had a token", ph.name)
			}
		default:
			if o.Errors > 0 || without.Errors > 0 {
				t.Errorf("%s: %q, %q", ph.name, o.FirstError, without.FirstError)
			}
		}
		if o.Calls == 0 || o.P50 <= 0 || o.P99 < o.P50 || o.Max < o.P99 {
			t.Errorf("%s: %+v", ph.name, o)
		}
	}
	if o := ours("kill"); o.Tokens != 1 || o.Calls != goroutines || o.Max < 500 {
		t.Errorf("leader killed, this library: %+v", o) // those of the one worker that is left, who wait for the lease's end
	}
	if o := r.outcome("redis", naiveRedis); slices.Contains(phases, phaseNamed("redis")) && o.Errors == 0 {
		t.Errorf("Redis was away and the naive accessor has not noticed: %+v", o)
	}

	checkPicture(t, svg, append(titles(phases), "plain MSAL", "this library")...)
	if text := p.stderr.String(); strings.ContainsAny(text, "\r\x1b") || strings.Count(text, "\n") != len(r.Results)+1 {
		t.Errorf("without a terminal it should be a line for each step, and one for the picture:\n%q", text)
	}
}

func titles(phases []*phase) (out []string) {
	for _, ph := range phases {
		out = append(out, ph.title)
	}
	return out
}

func names(phases []*phase) (out []string) {
	for _, ph := range phases {
		out = append(out, ph.name)
	}
	return out
}

// checkPicture wants a well-formed SVG that holds the texts.
func checkPicture(t *testing.T, file string, texts ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var root string
	var text strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if root == "" {
				root = tok.Name.Local
			}
		case xml.CharData:
			text.Write(tok)
		}
	}
	if root != "svg" {
		t.Errorf("the picture is a %q", root)
	}
	for _, want := range texts {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
}

// TestARealRedis: the keys of others stay, its own do not.
func TestARealRedis(t *testing.T) {
	t.Parallel()
	onARealRedis(t, "--phases=cold,kill")
}

func TestLongARealRedis(t *testing.T) {
	long.Test(t)
	t.Parallel()
	onARealRedis(t)
}

func onARealRedis(t *testing.T, args ...string) {
	s := redistest.Start(t, redistest.Password("a-password"))
	s.Do("SET", "somebody's", "value")
	p := start(t, append(append(small[:len(small):len(small)], "--json", "--systems=library", "--redis", s.URL()),
		args...)...)
	p.mustExit(exitKept)
	r := p.report()
	if !r.Kept || len(r.Promises) == 0 || !strings.HasPrefix(r.Redis, "Redis ") ||
		!strings.HasSuffix(r.Redis, " at "+s.Addr()) {
		t.Errorf("the report: %s", p.stdout.String())
	}
	if strings.Contains(p.stdout.String()+p.stderr.String(), "a-password") {
		t.Error("the password shows")
	}
	if n := s.Do("DBSIZE"); n != int64(1) {
		t.Errorf("%d keys are left, one of them another's: %v", n, s.Do("KEYS", "*"))
	}
}

// Emulated tokens do not go into a Redis that the environment names for something else.
func TestRedisOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.Password("a-password"))
	p := startWith(t, s.URL(), append(small, "--json", "--systems=naive", "--phases=cold")...)
	p.mustExit(exitKept)
	if r := p.report(); !strings.Contains(r.Redis, "miniredis") {
		t.Errorf("the report: %s", p.stdout.String())
	}
	if n := gets(s); n > 0 {
		t.Errorf("the Redis of REDIS_URL has seen %d GETs", n)
	}
	if text := p.stderr.String(); !strings.Contains(text, "fleet: Entra ID is emulated, and REDIS_URL is not used") ||
		strings.Contains(text, "a-password") {
		t.Errorf("stderr:\n%s", text)
	}
}

// TestInterrupted: whoever is told, and when: the program ends long before its work is done, and no worker is left.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	// everyone in front of it gets the signal
	terminal := func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }
	for _, tt := range []struct {
		name   string
		signal func(pid int) error
		gets   int // that Redis has seen by then, of the naive accessor
		want   int
	}{
		{"Ctrl-C at the start", terminal, 1, exitInterrupted},
		{"Ctrl-C under load", terminal, underLoad, exitInterrupted},
		{"SIGTERM", func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }, underLoad, exitInterrupted},
		{"kill -9", func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }, underLoad, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p := start(t, append(small, "--life=1h", "--phases=expiry", "--systems=naive", "--redis", s.URL())...)
			p.until("the load", func() bool { return gets(s) >= tt.gets })
			if err := tt.signal(p.cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			if got := p.wait(patience / 4); got != tt.want {
				t.Errorf("exit status %d; stderr:\n%s", got, p.stderr.String())
			}
			if tt.want != exitInterrupted {
				return
			}
			if !strings.HasSuffix(p.stderr.String(), "fleet: interrupted\n") || p.stdout.Len() > 0 {
				t.Errorf("stdout %q, stderr %q", p.stdout.String(), p.stderr.String())
			}
			if n := s.Do("DBSIZE"); n != int64(0) {
				t.Errorf("%d keys are left: %v", n, s.Do("KEYS", "*"))
			}
		})
	}
}

// underLoad is more than what each goroutine asking once for each token can come to, twice for a token that is not
// there: so the workers are in the steady load, which goes on for more than an hour.
const underLoad = 2*4*2*2 + 50

func gets(s *redistest.Server) (n int) {
	_, stats, _ := strings.Cut(s.Do("INFO", "commandstats").(string), "cmdstat_get:calls=")
	_, _ = fmt.Sscanf(stats, "%d", &n)
	return n
}

// until waits for what the program does and does not announce.
func (p *program) until(what string, f func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain for %s; stderr:\n%s", what, p.stderr.String())
		}
	}
}

// TestALeaderThatStandsStillIsNotReplaced: where no leader is killed, a busy machine that stops one for longer than
// --lock-ttl costs no token request.
func TestALeaderThatStandsStillIsNotReplaced(t *testing.T) {
	t.Setenv(programEnv, "1")
	nothing := func(string) string { return "" }
	cfg, err := parseConfig(append(small, "--tenants=1", "--lock-ttl=100ms"), nothing, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	stand := &phase{name: "cold", takes: func(*config) time.Duration { return 0 },
		act: func(ctx context.Context, s *stage) error {
			defer s.entra.emulator.OnTokenRequest(func(r entratest.Request) {
				id, _ := workerOf(r)
				pid := s.fleet.workers[id].command.Process.Pid
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
				sleep(ctx, 5*s.LockTTL)
				if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
					t.Error(err)
				}
			})()
			return s.load(ctx, s.fleet, load{Tokens: s.tokens()})
		}}
	d := &demo{config: cfg, prefix: "fleet-" + randomName(), progress: newProgress(io.Discard)}
	if d.key, err = serializer.GenerateKey("fleet"); err != nil {
		t.Fatal(err)
	}
	if d.entra, err = openEntra(cfg); err != nil {
		t.Fatal(err)
	}
	defer d.entra.close()
	if d.redis, err = openRedis(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer d.redis.close()
	o, err := d.play(t.Context(), stand, allSystems[2])
	if err != nil {
		t.Fatal(err)
	}
	if ok, found := exactlyOnePerToken(o); !ok || o.Errors > 0 {
		t.Errorf("%s; %d errors", found, o.Errors)
	}
}

// TestABrokenPromiseIsAnError: without its HTTP client the library shares tokens and does not coordinate.
func TestABrokenPromiseIsAnError(t *testing.T) {
	t.Parallel()
	p := start(t, append(small, "--without-gate", "--phases=cold", "--systems=library")...)
	p.mustExit(exitBroken)
	const promise = "exactly one token request per tenant and scope"
	if !strings.Contains(p.stdout.String(), "BROKEN  cold start           "+promise) {
		t.Errorf("the table:\n%s", p.stdout.String())
	}
	if !strings.Contains(p.stderr.String(), "fleet: promise broken: cold: "+promise) {
		t.Errorf("stderr:\n%s", p.stderr.String())
	}
}
