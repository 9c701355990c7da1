package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const asProgram = "MSALREDIS_TEST_AS_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is this test's binary, run as the command.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []string
	fresh chan struct{}
	ended chan struct{} // stdout is at its end
	errs  bytes.Buffer
}

func start(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(exe, args...), fresh: make(chan struct{}, 1), ended: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), asProgram+"=1", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0"), env...)
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() }) // after stop it does nothing
	go func() {
		defer close(p.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
			select {
			case p.fresh <- struct{}{}:
			default:
			}
		}
	}()
	return p
}

// wait returns the submatches of the first line that matches.
func (p *program) wait(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(60 * time.Second)
	for {
		p.mu.Lock()
		for _, l := range p.lines {
			if m := re.FindStringSubmatch(l); m != nil {
				p.mu.Unlock()
				return m
			}
		}
		p.mu.Unlock()
		select {
		case <-p.fresh:
		case <-p.ended:
			p.t.Fatalf("ended without a line like %q: %s", pattern, p.text())
		case <-timeout:
			p.t.Fatalf("no line like %q: %s", pattern, p.text())
		}
	}
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// stop is ctrl-C. It returns the last line.
func (p *program) stop() string {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("after ctrl-C: %v\n%s\n%s", err, p.text(), p.errs.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[len(p.lines)-1]
}

// The compose file's fleet, without containers: an emulator and three workers, each a process.
func TestFleetOfWorkersSendsOneTokenRequestPerToken(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		const workers, tenants = 3, 5
		key, err := serializer.GenerateKey("t1")
		if err != nil {
			t.Fatal(err)
		}
		env := []string{"TOKEN_CACHE_KEYS=" + key.Export()}

		emulator := start(t, env, "--emulator", "--listen", "127.0.0.1:0", "--ca-listen", "127.0.0.1:0", "--lifetime", "1h",
			"--every", "100ms")
		at := emulator.wait(`^emulator: --entra (\S+) --ca (\S+)$`)
		var fleet []*program
		for range workers {
			// A machine that starves a process for longer than OpTimeout would cost a request, by design: not what is tested.
			fleet = append(fleet, start(t, env, "--redis", url, "--entra", at[1], "--ca", at[2], "--tenants",
				strconv.Itoa(tenants), "--every", "100ms", "--op-timeout", "10s", "--metrics", "127.0.0.1:0"))
		}
		for _, w := range fleet {
			w.wait(`: [1-9]\d* tokens taken, .*`)
		}
		// What Prometheus reads of them is what the emulator counts.
		scraped := func() (hits, requests int) {
			for _, w := range fleet {
				body, err := get(context.Background(), http.DefaultClient, w.wait(`^metrics: (\S+)$`)[1])
				if err != nil {
					t.Fatal(err)
				}
				for pattern, sum := range map[string]*int{
					`(?m)^msalredis_lookups_total\{msalredis_found="memory"\} (\d+)$`:     &hits,
					`(?m)^msalredis_token_request_duration_seconds_count\{[^}]*\} (\d+)$`: &requests,
				} {
					for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(body, -1) {
						n, _ := strconv.Atoi(string(m[1]))
						*sum += n
					}
				}
			}
			return hits, requests
		}
		deadline := time.Now().Add(60 * time.Second)
		for hits, requests := scraped(); hits == 0 || requests != tenants; hits, requests = scraped() {
			if time.Now().After(deadline) {
				t.Fatalf("the metrics count %d hits, and %d token requests for %d tokens", hits, requests, tenants)
			}
			<-fleet[0].fresh // a line is printed every 100 ms
		}
		http.DefaultClient.CloseIdleConnections()
		sent := 0
		for _, w := range fleet {
			line := w.stop()
			m := regexp.MustCompile(`: (\d+) tokens taken, (\d+) token requests sent, 0 errors;`).FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("a worker's last line: %q\n%s", line, w.errs.String())
			}
			n, _ := strconv.Atoi(m[2])
			sent += n
		}
		if sent != tenants {
			t.Errorf("the workers sent %d token requests for %d tokens", sent, tenants)
		}
		want := fmt.Sprintf("emulator: %d token requests for %d tenants, 0 since the last line; 0 too early, at most 1 at "+
			"once for one tenant", tenants, tenants)
		emulator.wait("^" + want + "$")
		if last := emulator.stop(); !strings.HasPrefix(last, strings.SplitN(want, ",", 2)[0]) {
			t.Errorf("the emulator's last line: %q", last)
		}
	})
}

// The tokens are the emulator's, and do not go into a Redis that the environment names for something else.
func TestRedisOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Parallel()
	somebodys := redistest.Start(t)
	key, err := serializer.GenerateKey("t1")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"TOKEN_CACHE_KEYS=" + key.Export(), "REDIS_URL=" + somebodys.URL()}
	emulator := start(t, env, "--emulator", "--listen", "127.0.0.1:0", "--ca-listen", "127.0.0.1:0")
	at := emulator.wait(`^emulator: --entra (\S+) --ca (\S+)$`)
	w := start(t, env, "--entra", at[1], "--ca", at[2], "--duration", "1s")
	<-w.ended
	if err := w.cmd.Wait(); w.cmd.ProcessState.ExitCode() != 2 || !strings.Contains(w.errs.String(), "--redis") {
		t.Errorf("%v, stderr %q, want something about --redis", err, w.errs.String())
	}
	if keys := somebodys.Do("KEYS", "*"); len(keys.([]any)) > 0 {
		t.Errorf("in the Redis of REDIS_URL: %v", keys)
	}
	emulator.stop()
}

func TestBadInputIsNamed(t *testing.T) {
	const password = "Sesame-0123"
	key, err := serializer.GenerateKey("t1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		keys   string
		args   []string
		status int
		want   string
	}{
		{"", nil, 2, "--redis"},
		{"", []string{"--redis", "redis://127.0.0.1:1"}, 2, "TOKEN_CACHE_KEYS"},
		{"no-colon", []string{"--redis", "redis://127.0.0.1:1"}, 2, "TOKEN_CACHE_KEYS"},
		{key.Export(), []string{"--redis", "nonsense:" + password}, 2, "--redis: "},
		{key.Export(), []string{"--redis", "https://:" + password + "@127.0.0.1"}, 2, "--redis: "},
		{"", []string{"--nonsense"}, 2, "-nonsense"},
		{"", []string{"surplus"}, 2, `"surplus"`},
		{"", []string{"--every", "0s"}, 2, "--every"},
		{"", []string{"--every", "often"}, 2, "-every"},
		{"", []string{"--tenants", "0"}, 2, "--tenants"},
		{"", []string{"--emulator", "--listen", "nowhere"}, 1, "nowhere"},
	} {
		t.Setenv("TOKEN_CACHE_KEYS", tt.keys)
		err := run(context.Background(), tt.args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), password) {
			t.Errorf("%q: %v, want something about %s", tt.args, err, tt.want)
		}
		if got := status(err); got != tt.status {
			t.Errorf("%q: exit status %d, want %d", tt.args, got, tt.status)
		}
	}
	var help bytes.Buffer
	t.Setenv("REDIS_URL", "redis://:a-password@127.0.0.1:1")
	if err := run(context.Background(), []string{"--help"}, io.Discard, &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
	if !strings.Contains(help.String(), "-scale worker=5") || !strings.Contains(help.String(), "-emulator") ||
		!strings.Contains(help.String(), "REDIS_URL is not used") {
		t.Errorf("--help says %q", help.String())
	}
	if strings.Contains(help.String(), "a-password") {
		t.Errorf("the password shows: %s", help.String())
	}
}
