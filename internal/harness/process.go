package harness

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Process is a worker in a process of its own.
type Process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (p *Process) Hello() {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); err != nil || line != "ready\n" {
		p.t.Fatalf("a worker did not start: %q %v", line, err)
	}
}

// Send gives a worker its order without waiting for the answer.
func (p *Process) Send(o Order) {
	p.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.in, "%s\n", text); err != nil {
		p.t.Errorf("worker: %v", err)
	}
}

// Receive waits for the answer to an order.
func (p *Process) Receive() Outcome {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	var o Outcome
	if err == nil {
		err = json.Unmarshal([]byte(line), &o)
	}
	if err != nil {
		return Outcome{Errors: []string{"worker: " + err.Error()}}
	}
	for _, e := range o.Errors {
		Canary.sawErrorText(e)
	}
	return o
}

func (p *Process) Do(o Order) Outcome {
	p.t.Helper()
	p.Send(o)
	return p.Receive()
}

func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *Process) End() {
	p.in.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, p.out)
		_ = p.cmd.Wait()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		p.t.Error("a worker did not end: Close hangs?")
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// Processes starts n workers on the world. They are ended with the test.
func (w *World) Processes(n int, change ...func(*WorkerConfig)) []*Process {
	w.T.Helper()
	var all []*Process
	for range n {
		cfg := WorkerConfig{
			Redis: w.Redis.Address, Prefix: w.Prefix, Keys: w.Keys, Entra: w.Entra.Host(), CA: string(w.Entra.CAPEM()),
		}
		for _, f := range change {
			f(&cfg)
		}
		all = append(all, StartProcess(w.T, os.Args[0], cfg))
	}
	for _, p := range all {
		p.Hello()
	}
	return all
}

func StartProcess(t *testing.T, binary string, cfg WorkerConfig, env ...string) *Process {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, cmd: exec.Command(binary)}
	p.cmd.Env = append(append(os.Environ(), workerEnv+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")), env...)
	p.cmd.Stderr = Canary // what a worker logs, the canary reads
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReaderSize(out, 1<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.End)
	if _, err := fmt.Fprintf(p.in, "%s\n", base64.StdEncoding.EncodeToString(text)); err != nil {
		t.Fatal(err)
	}
	return p
}

// DoAll gives the same order to every worker at once.
func DoAll(ps []*Process, o Order) []Outcome {
	for _, p := range ps {
		p.Send(o)
	}
	var outcomes []Outcome
	for _, p := range ps {
		outcomes = append(outcomes, p.Receive())
	}
	return outcomes
}

// SameToken checks that no outcome has an error and that all have one token.
func SameToken(t *testing.T, outcomes []Outcome) {
	t.Helper()
	tokens := map[string]bool{}
	for _, o := range outcomes {
		for _, e := range o.Errors {
			t.Errorf("worker: %s", e)
		}
		for _, token := range o.Tokens {
			tokens[token] = true
		}
	}
	if len(tokens) != 1 {
		t.Errorf("%d different tokens, want one", len(tokens))
	}
}
