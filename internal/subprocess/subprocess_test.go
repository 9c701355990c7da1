package subprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

type setup struct {
	Fail  string
	Early bool
	Grace time.Duration
}

type order struct {
	Do string
	N  int
}

type outcome struct {
	Text string
	PID  int
}

type child = Child[order, outcome]

func TestMain(m *testing.M) {
	switch Role() {
	case "worker":
		os.Exit(Serve(begin))
	case "talker":
		fmt.Println("good morning")
		time.Sleep(time.Hour)
	case "mute":
		time.Sleep(time.Hour)
	}
	goleak.VerifyTestMain(m)
}

func begin(p *Parent[order, outcome], s setup) (func(), error) {
	if s.Fail != "" {
		return nil, errors.New(s.Fail)
	}
	if s.Early {
		if err := p.Tell(outcome{Text: "early"}); err != nil {
			return nil, err
		}
	}
	if s.Grace > 0 {
		grace = s.Grace
	}
	return func() { p.Answer(func(o order) outcome { return do(p.Context, o) }) }, nil
}

func do(ctx context.Context, o order) outcome {
	out := outcome{PID: os.Getpid()}
	switch o.Do {
	case "long":
		out.Text = strings.Repeat("x", o.N)
	case "print":
		fmt.Println("a stray line")
	case "hang":
		time.Sleep(time.Hour)
	case "die":
		fmt.Fprintln(os.Stderr, "a great trouble")
		os.Exit(3)
	case "wait":
		<-ctx.Done()
	case "family", "frozen family", "ctrl-c":
		var err error
		if out, err = family(o.Do); err != nil {
			out.Text = err.Error()
		}
	}
	return out
}

// family is what a child does that is itself a parent: the outcome is its child's.
func family(what string) (outcome, error) {
	if what == "ctrl-c" { // not where the parent dies: the kernel wakes whoever is frozen in an orphaned group
		if err := syscall.Setpgid(0, 0); err != nil {
			return outcome{}, err
		}
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	c, err := Start[order, outcome](Spec{Role: "worker"})
	if err != nil {
		return outcome{}, err
	}
	ctx := context.Background()
	if err := c.Ready(ctx); err != nil {
		return outcome{}, err
	}
	out, err := c.Do(ctx, order{})
	switch {
	case err != nil:
	case what == "frozen family":
		c.Freeze()
	case what == "ctrl-c": // to the whole group, as a terminal sends it
		if err := syscall.Kill(0, syscall.SIGINT); err != nil {
			return out, err
		}
		<-interrupted
		if out, err = c.Do(ctx, order{}); err == nil {
			err = c.End(ctx)
		}
	}
	return out, err
}

// within is for what should come at once.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const long = time.Minute

func start(t *testing.T, s Spec) *child {
	t.Helper()
	s.Name = "worker 7"
	c, err := Start[order, outcome](s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

func ready(t *testing.T, s setup) *child {
	t.Helper()
	c := start(t, Spec{Role: "worker", Setup: s})
	if err := c.Ready(within(t, long)); err != nil {
		t.Fatal(err)
	}
	return c
}

func mustDo(t *testing.T, c *child, o order) outcome {
	t.Helper()
	out, err := c.Do(within(t, long), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustSay(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range append(words, "worker 7") {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want %q in it", err, w)
		}
	}
}

func TestOrders(t *testing.T) {
	c := ready(t, setup{Early: true})
	if out, err := c.Receive(within(t, long)); err != nil || out.Text != "early" {
		t.Errorf("told before it was ready: %+v, %v", out, err)
	}
	for range 3 {
		if out := mustDo(t, c, order{}); out.PID == os.Getpid() || out.PID == 0 {
			t.Errorf("%+v", out)
		}
	}
	if out := mustDo(t, c, order{Do: "long", N: 8 << 20}); len(out.Text) != 8<<20 {
		t.Errorf("%d bytes of a long outcome", len(out.Text))
	}
	mustDo(t, c, order{Do: "print"}) // what else it prints is no outcome
	if err := c.End(within(t, long)); err != nil {
		t.Error(err)
	}
	_, err := c.Receive(within(t, long))
	mustSay(t, err, "exit status 0", "a stray line")
	if !errors.Is(err, ErrEnded) || c.Send(within(t, long), order{}) == nil {
		t.Error(err)
	}
}

func TestHandshakeFails(t *testing.T) {
	c := start(t, Spec{Role: "worker", Setup: setup{Fail: "no Redis"}})
	mustSay(t, c.Ready(within(t, long)), "no Redis")
	c = start(t, Spec{Role: "worker", Setup: "no setup"})
	mustSay(t, c.Ready(within(t, long)), "the setup: ")
	c = start(t, Spec{Role: "talker"})
	mustSay(t, c.Ready(within(t, long)), "good morning")
	c = start(t, Spec{Role: "mute"})
	mustSay(t, c.Ready(within(t, 100*time.Millisecond)), "no answer", "deadline exceeded")
	c = start(t, Spec{Command: []string{"sh", "-c", "echo no such library >&2; exit 4"}})
	mustSay(t, c.Ready(within(t, long)), "exit status 4", "no such library")
	if _, err := Start[order, outcome](Spec{Command: []string{"/no/program"}}); err == nil {
		t.Error("what is not there has started")
	}
}

// A setup and an order that fill the pipe of a child that does not read do not hang the parent.
func TestSendToWhoDoesNotRead(t *testing.T) {
	c := start(t, Spec{Role: "mute", Setup: strings.Repeat("x", 1<<20)})
	mustSay(t, c.Send(within(t, 100*time.Millisecond), order{}), "deadline exceeded")
}

func TestChildDiesDuringAnOrder(t *testing.T) {
	c := ready(t, setup{})
	_, err := c.Do(within(t, long), order{Do: "die"})
	mustSay(t, err, "exit status 3", "a great trouble")
	if !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	mustSay(t, c.End(within(t, long)), "exit status 3")
}

func TestChildHangs(t *testing.T) {
	c := ready(t, setup{})
	_, err := c.Do(within(t, 100*time.Millisecond), order{Do: "hang"})
	mustSay(t, err, "no answer")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err = c.Receive(within(t, long)); !errors.Is(err, ErrEnded) {
		t.Errorf("who hung lives on: %v", err)
	}
	if err := c.End(within(t, long)); err != nil {
		t.Errorf("of a child that was killed: %v", err)
	}
	c = ready(t, setup{})
	if err := c.Send(within(t, long), order{Do: "hang"}); err != nil {
		t.Fatal(err)
	}
	mustSay(t, c.End(within(t, 100*time.Millisecond)), "did not end")
}

func TestGarbageIsNoOutcome(t *testing.T) {
	c := start(t, Spec{Command: []string{"sh", "-c",
		`read setup; echo '{"Ready":true}'; read order; echo garbage; echo '{"PID":1}'`}})
	if err := c.Ready(within(t, long)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Do(within(t, long), order{})
	mustSay(t, err, "garbage")
	if out, err := c.Receive(within(t, long)); err != nil || out.PID != 1 {
		t.Errorf("after the garbage: %+v, %v", out, err)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	c := ready(t, setup{})
	c.Freeze()
	if err := c.Send(within(t, long), order{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if line, ok := c.inbox.take(); ok {
		t.Errorf("a frozen child said %q", line)
	}
	c.Thaw()
	if _, err := c.Receive(within(t, long)); err != nil {
		t.Error(err)
	}
	c.Freeze()
	c.Kill()
}

// The end of a child's standard input, which is all that it has of its parent's death where the kernel does not tell,
// ends its context, and then itself.
func TestEndOfOrders(t *testing.T) {
	c := ready(t, setup{})
	if err := c.Send(within(t, long), order{Do: "wait"}); err != nil {
		t.Fatal(err)
	}
	if err := c.End(within(t, long)); err != nil {
		t.Error(err)
	}
	c = ready(t, setup{Grace: 100 * time.Millisecond})
	if err := c.Send(within(t, long), order{Do: "hang"}); err != nil {
		t.Fatal(err)
	}
	mustSay(t, c.End(within(t, long)), "exit status 2")
}

// No child outlives its parent that is killed.
func TestParentDies(t *testing.T) {
	for _, what := range []string{"family", "frozen family"} {
		if what == "frozen family" && runtime.GOOS != "linux" {
			continue
		}
		parent := ready(t, setup{})
		out := mustDo(t, parent, order{Do: what})
		if out.Text != "" || !alive(out.PID) {
			t.Fatalf("%s: %+v", what, out)
		}
		parent.Kill()
		for deadline := time.Now().Add(grace); alive(out.PID); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				_ = syscall.Kill(out.PID, syscall.SIGKILL)
				t.Fatalf("%s: the child outlives its parent", what)
			}
		}
	}
}

// alive tells whether a process runs: one that has ended and is not buried yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && strings.Contains(string(stat), ") Z ") {
		return false
	}
	return syscall.Kill(pid, 0) == nil
}

// At Ctrl-C a terminal sends a signal to parent and child: who ends when is the parent's affair.
func TestCtrlC(t *testing.T) {
	parent := ready(t, setup{})
	if out := mustDo(t, parent, order{Do: "ctrl-c"}); out.Text != "" {
		t.Error(out.Text)
	}
}
