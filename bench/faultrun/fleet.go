package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

// fleet is the parent's side of its workers. A slot is a place in the fleet: who is killed there gets a successor.
type fleet struct {
	binaries func(slot int) (path string, clock int)
	base     setup
	began    time.Time
	patience time.Duration // with an order

	mu    sync.Mutex
	next  int
	slots []*process
	lives []*life
	calls []call
	said  map[string]bool // lines of the library's log, and errors of calls
	late  []injected
	away  []injected
	open  map[int]map[identityOf]call // begun and not ended sign-ins and sign-outs, by worker
}

type identityOf struct{ user, flow string }

type process struct {
	slot     int
	life     *life
	child    *subprocess.Child[order, record]
	patience time.Duration
	replies  chan record   // done; closed when the process has ended
	ended    chan struct{} // the process is gone, and its log read to the end
}

// start starts a worker in a slot and returns when it is ready.
func (f *fleet) start(ctx context.Context, slot int, mine []int) (*process, error) {
	path, clock := f.binaries(slot)
	f.mu.Lock()
	s := f.base
	s.Worker, s.Clock, s.Mine = f.next, clock, mine
	f.next++
	p := &process{slot: slot, life: &life{Worker: s.Worker, Start: time.Since(f.began)}, patience: f.patience,
		replies: make(chan record, 4), ended: make(chan struct{})}
	f.lives = append(f.lives, p.life)
	f.mu.Unlock()

	var err error
	if p.child, err = subprocess.Start[order, record](subprocess.Spec{
		Role: workerRole, Name: fmt.Sprint("worker ", s.Worker), Command: []string{path},
		Env: []string{fmt.Sprintf("%s=%d", clockMark, clock)}, Setup: s,
	}); err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	if err := p.child.Ready(ready); err != nil {
		return nil, err
	}
	go f.read(p)
	return p, nil
}

// read takes in a worker's log until it ends.
func (f *fleet) read(p *process) {
	defer close(p.ended)
	defer close(p.replies)
	for {
		r, err := p.child.Receive(context.Background())
		if err != nil {
			p.child.Kill()
			f.mu.Lock()
			p.life.End = time.Since(f.began)
			for _, c := range f.open[p.life.Worker] { // it never returned
				f.calls = append(f.calls, c)
			}
			f.mu.Unlock()
			return
		}
		switch r.Kind {
		case "begin", "call":
			f.mu.Lock()
			key := identityOf{r.Call.User, r.Call.Flow}
			if r.Kind == "begin" {
				if f.open == nil {
					f.open = map[int]map[identityOf]call{}
				}
				if f.open[p.life.Worker] == nil {
					f.open[p.life.Worker] = map[identityOf]call{}
				}
				f.open[p.life.Worker][key] = r.Call
			} else {
				delete(f.open[p.life.Worker], key)
				f.returned(r.Call)
			}
			f.mu.Unlock()
		case "log":
			f.mu.Lock()
			f.say(r.Error)
			f.mu.Unlock()
		case "late":
			f.busy(r.Call.Worker, r.Call.Start, r.Call.End)
		case "away":
			f.mu.Lock()
			f.away = append(f.away, injected{Kind: kindBusy, Worker: r.Call.Worker, Start: r.Call.Start, Note: noteAway})
			f.mu.Unlock()
		case "back":
			f.mu.Lock()
			for i := range f.away {
				if a := &f.away[i]; a.Worker == r.Call.Worker && a.End == 0 {
					a.End = r.Call.Start
				}
			}
			f.mu.Unlock()
		case "done":
			p.replies <- r
		}
	}
}

// returned notes a call, its error cut: but whole it is searched for secrets. The caller holds mu.
func (f *fleet) returned(c call) {
	f.say(c.Error)
	c.Error = c.Error[:min(len(c.Error), 300)]
	f.calls = append(f.calls, c)
}

// say notes what a worker wrote. The caller holds mu.
func (f *fleet) say(text string) {
	if f.said == nil {
		f.said = map[string]bool{}
	}
	if text != "" {
		f.said[text] = true
	}
}

// busy notes that a process got no processor.
func (f *fleet) busy(worker int, a, b time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = append(f.late, injected{Kind: kindBusy, Worker: worker, Start: a, End: b})
}

// wait waits for the answer to an order. Who does not give it in time is killed.
func (p *process) wait(ctx context.Context, do string) error {
	late := time.NewTimer(p.patience)
	defer late.Stop()
	select {
	case r, ok := <-p.replies:
		if !ok {
			return fmt.Errorf("worker %d has died: %w", p.life.Worker, errGone)
		}
		if r.Error != "" {
			p.life.Leaked = r.Error
		}
		return nil
	case <-late.C:
		p.hung(do)
		return fmt.Errorf("worker %d did not %s within %v: %w", p.life.Worker, do, p.patience, errGone)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hung ends a worker that hangs.
func (p *process) hung(do string) {
	p.life.Hung = do
	p.kill()
}

var errGone = errors.New("the worker is gone")

// do has a worker carry out an order. That it hangs or dies is no trouble of the run, which goes on without it: the
// checker reports it.
func (p *process) do(ctx context.Context, do string) error { return p.doAs(ctx, order{Do: do}) }

func (p *process) doAs(ctx context.Context, o order) error {
	sending, cancel := context.WithTimeout(ctx, p.patience)
	_ = p.child.Send(sending, o) // who cannot be written to gives no answer either
	cancel()
	err := p.wait(ctx, o.Do)
	if errors.Is(err, errGone) {
		return nil
	}
	p.life.Closed = err == nil && o.Do == "close"
	return err
}

// all gives every worker an order at once and waits for all.
func (f *fleet) all(ctx context.Context, do string) error { return f.allAs(ctx, order{Do: do}) }

func (f *fleet) allAs(ctx context.Context, o order) error {
	f.mu.Lock()
	slots := slices.Clone(f.slots)
	f.mu.Unlock()
	errs := make([]error, len(slots))
	var wg sync.WaitGroup
	for i, p := range slots {
		wg.Go(func() { errs[i] = p.doAs(ctx, o) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// end lets a worker go and waits until it has.
func (p *process) end(ctx context.Context) error {
	ending, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := p.child.End(ending); errors.Is(err, context.DeadlineExceeded) {
		p.life.Hung = "end"
	}
	<-p.ended
	return ctx.Err()
}

// kill ends a worker by SIGKILL: nothing of it can clean up.
func (p *process) kill() {
	p.child.Kill()
	<-p.ended
}

// at is the process in a slot.
func (f *fleet) at(slot int) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slots[slot]
}

func (f *fleet) replace(slot int, p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots[slot] = p
}

func (f *fleet) stop() {
	for _, p := range f.slots {
		if p != nil {
			p.kill()
		}
	}
}
