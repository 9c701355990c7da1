package subprocess

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// roleVariable is the environment variable that makes the program a child.
const roleVariable = "MSALREDIS_SUBPROCESS"

// ErrEnded is what errors wrap that come of a child which has ended.
var ErrEnded = errors.New("the process has ended")

// Spec says which child to start.
type Spec struct {
	Role    string    // what Role returns in the child
	Name    string    // in errors; empty: Role
	Command []string  // the program and its arguments; empty: this executable
	Env     []string  // beside this process's
	Log     io.Writer // its standard error; nil: this process's
	Setup   any
}

// Child is a process of which this one is the parent. Its methods may be called concurrently, but for Ready, Receive
// and Do: one of them at a time.
type Child[Order, Outcome any] struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	sending sync.Mutex
	inbox   inbox
	log     logTail
	killed  atomic.Bool // by the parent
	ended   chan struct{}
}

// Start starts a child and gives it its setup. It does not wait, so that many children set themselves up at once: see
// Ready.
func Start[Order, Outcome any](s Spec) (*Child[Order, Outcome], error) {
	c := &Child[Order, Outcome]{
		name: cmp.Or(s.Name, s.Role), inbox: inbox{arrived: make(chan struct{}, 1)}, log: logTail{to: s.Log},
		ended: make(chan struct{}),
	}
	setup, err := json.Marshal(s.Setup)
	if err != nil {
		return nil, err
	}
	if s.Log == nil {
		c.log.to = os.Stderr
	}
	if len(s.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.Command = []string{self}
	}
	c.cmd = exec.Command(s.Command[0], s.Command[1:]...)
	// A child that was built with the race detector would sleep for a second when it ends.
	c.cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	c.cmd.Env = append(append(c.cmd.Env, s.Env...), roleVariable+"="+s.Role)
	c.cmd.Stdout, c.cmd.Stderr = &c.inbox, &c.log
	c.cmd.WaitDelay = 5 * time.Second // for who has inherited its output
	DieWithParent(c.cmd)
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // ProcessState has the outcome
	}()
	c.sending.Lock() // no order goes before
	go func() {
		defer c.sending.Unlock()
		_, _ = c.stdin.Write(append(setup, '\n')) // a child that has not got it does not get ready
	}()
	return c, nil
}

// hello is a child's first line.
type hello struct {
	Ready bool   `json:",omitempty"`
	Error string `json:",omitempty"`
}

// Ready waits until the child has set itself up. One that could not is killed.
func (c *Child[Order, Outcome]) Ready(ctx context.Context) error {
	text, err := c.line(ctx)
	var h hello
	switch {
	case err != nil:
	case json.Unmarshal(text, &h) != nil || h == (hello{}):
		err = c.trouble(fmt.Errorf("its first line is %.200q", text))
	case h.Error != "":
		err = c.trouble(errors.New(h.Error))
	}
	if err != nil {
		c.Kill()
	}
	return err
}

// Send gives the child an order, without waiting for its outcome. It blocks while the child does not read.
func (c *Child[Order, Outcome]) Send(ctx context.Context, o Order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, c.Kill)() // which ends the write, and that of who is before
	c.sending.Lock()
	defer c.sending.Unlock()
	if _, err = c.stdin.Write(append(text, '\n')); err != nil {
		return c.trouble(cmp.Or(context.Cause(ctx), err))
	}
	return nil
}

// Receive returns the next outcome.
func (c *Child[Order, Outcome]) Receive(ctx context.Context) (o Outcome, err error) {
	text, err := c.line(ctx)
	if err == nil && json.Unmarshal(text, &o) != nil {
		err = c.trouble(fmt.Errorf("%.200q is no outcome", text))
	}
	return o, err
}

// Do gives the child an order and returns its outcome.
func (c *Child[Order, Outcome]) Do(ctx context.Context, o Order) (outcome Outcome, err error) {
	if err := c.Send(ctx, o); err != nil {
		return outcome, err
	}
	return c.Receive(ctx)
}

// line is the next one that the child wrote.
func (c *Child[Order, Outcome]) line(ctx context.Context) ([]byte, error) {
	for {
		ended := false
		select {
		case <-c.ended: // asked before the inbox, whose last line is in it by then
			ended = true
		default:
		}
		if line, ok := c.inbox.take(); ok {
			return line, nil
		}
		if ended {
			return nil, c.trouble(fmt.Errorf("%w: %v", ErrEnded, c.cmd.ProcessState))
		}
		select {
		case <-c.inbox.arrived:
		case <-c.ended:
		case <-ctx.Done():
			c.Kill()
			return nil, c.trouble(fmt.Errorf("no answer: %w", context.Cause(ctx)))
		}
	}
}

func (c *Child[Order, Outcome]) trouble(err error) error {
	if last := c.log.last(); last != "" {
		return fmt.Errorf("%s: %w; its log ends with:\n%s", c.name, err, last)
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

// End closes the child's standard input and waits until it has ended; when ctx ends, it is killed. The error says that,
// or with which status it ended. Of a child that was killed before there is none.
func (c *Child[Order, Outcome]) End(ctx context.Context) error {
	_ = c.stdin.Close()
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.Kill()
		return c.trouble(fmt.Errorf("it did not end: %w", context.Cause(ctx)))
	}
	if !c.killed.Load() && !c.cmd.ProcessState.Success() {
		return c.trouble(fmt.Errorf("%w: %v", ErrEnded, c.cmd.ProcessState))
	}
	return nil
}

// Kill ends the child by SIGKILL, so that nothing of it can clean up, and returns when it has ended.
func (c *Child[Order, Outcome]) Kill() {
	select {
	case <-c.ended: // by itself
	default:
		c.killed.Store(true)
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

// Freeze stops the child until Thaw, as a machine does that has no time for it.
func (c *Child[Order, Outcome]) Freeze() { _ = c.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen child go on.
func (c *Child[Order, Outcome]) Thaw() { _ = c.cmd.Process.Signal(syscall.SIGCONT) }
