package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// fleet is the parent's side of its worker processes.
type fleet struct{ workers []*workerProcess }

type workerProcess struct {
	id      int
	command *exec.Cmd
	stdin   io.WriteCloser
	replies chan reply // closed when the process has ended
	killed  atomic.Bool
}

// startFleet starts n workers, numbered from first, and returns when all are ready. They end with ctx, with stop, or
// with this process.
func startFleet(ctx context.Context, first, n int, s setup) (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &fleet{}
	for id := first; id < first+n; id++ {
		w, err := startWorker(ctx, self, id)
		if err != nil {
			f.stop()
			return nil, err
		}
		f.workers = append(f.workers, w)
		s.Worker = id
		w.send(s)
	}
	if _, err := f.gather(ctx); err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

func startWorker(ctx context.Context, self string, id int) (*workerProcess, error) {
	w := &workerProcess{id: id, command: exec.CommandContext(ctx, self), replies: make(chan reply, 1)}
	w.command.Env = append(os.Environ(), workerMark+"=1")
	w.command.Stderr = os.Stderr
	w.command.WaitDelay = 5 * time.Second
	stdout, err := w.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if w.stdin, err = w.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := w.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.replies)
		lines := json.NewDecoder(stdout)
		for {
			var r reply
			if lines.Decode(&r) != nil {
				_ = w.command.Wait() // a worker that was not told to end is missed by gather
				return
			}
			w.replies <- r
		}
	}()
	return w, nil
}

// send does not report an error: a worker that cannot be written to gives no reply either.
func (w *workerProcess) send(message any) { _ = json.NewEncoder(w.stdin).Encode(message) }

// load gives all workers the load at once and adds up what came of it.
func (f *fleet) load(ctx context.Context, l load) (result, error) {
	for _, w := range f.workers {
		w.send(l)
	}
	return f.gather(ctx)
}

// gather takes one reply of each worker. Of one that was killed there is none, and its callers died with it.
func (f *fleet) gather(ctx context.Context) (result, error) {
	var results []result
	for _, w := range f.workers {
		select {
		case r, ok := <-w.replies:
			switch {
			case !ok && w.killed.Load():
				continue
			case !ok && ctx.Err() == nil:
				return result{}, fmt.Errorf("worker %d has died: %v", w.id, w.command.ProcessState)
			case r.Trouble != "":
				return result{}, fmt.Errorf("worker %d: %s", w.id, r.Trouble)
			}
			results = append(results, r.result)
		case <-ctx.Done():
			return result{}, ctx.Err()
		}
	}
	return merge(results...), ctx.Err()
}

var errNoWorker = errors.New("a token request came from no worker of this fleet")

// kill ends a worker by SIGKILL: nothing of it can clean up.
func (f *fleet) kill(id int) error {
	for _, w := range f.workers {
		if w.id == id {
			w.killed.Store(true)
			return w.command.Process.Kill()
		}
	}
	return errNoWorker
}

// stop ends all workers and returns when they have ended.
func (f *fleet) stop() {
	for _, w := range f.workers {
		_ = w.stdin.Close()
	}
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	for _, w := range f.workers {
		for alive := true; alive; {
			select {
			case _, alive = <-w.replies:
			case <-patience.C:
				for _, w := range f.workers {
					_ = w.command.Process.Kill()
				}
			}
		}
	}
}
