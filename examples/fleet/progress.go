package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress says what is going on: on a terminal in one line that is drawn anew, elsewhere (a log) in a line at the end
// of each step.
type progress struct {
	out      io.Writer
	terminal bool

	steps, done int           // a step is a phase with one system
	left        time.Duration // of the steps that are not done, about

	mu    sync.Mutex
	title string
	begun time.Time
	takes time.Duration // the step that is under way, about
	quit  chan struct{}
	drawn sync.WaitGroup
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// toLaunch is about how long a fleet's processes take to be there.
const toLaunch = time.Second

// plan takes in what is going to be played.
func (p *progress) plan(cfg *config) {
	for _, ph := range cfg.phases() {
		p.steps += len(cfg.systems())
		p.left += time.Duration(len(cfg.systems())) * (ph.takes(cfg) + toLaunch)
	}
}

// skip takes a phase out of the plan.
func (p *progress) skip(cfg *config, ph *phase) {
	p.steps -= len(cfg.systems())
	p.left -= time.Duration(len(cfg.systems())) * (ph.takes(cfg) + toLaunch)
}

// begin announces a step. count is asked for the token requests so far; it may be -1.
func (p *progress) begin(title string, takes time.Duration, count func() int) {
	p.title, p.begun, p.takes, p.quit = title, time.Now(), takes, make(chan struct{})
	if !p.terminal {
		return
	}
	quit := p.quit
	p.drawn.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			took := time.Since(p.begun)
			line := fmt.Sprintf("%d of %d, about %.0f s left: %s  %4.1f s", p.done+1, p.steps,
				(p.left - min(took, takes)).Seconds(), p.title, took.Seconds())
			if n := count(); n >= 0 {
				line += fmt.Sprintf("  %d token requests", n)
			}
			p.redraw(line)
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	})
}

func (p *progress) end(o *outcome, err error) {
	close(p.quit)
	p.drawn.Wait()
	p.done++
	p.left -= p.takes
	if !p.terminal && err == nil {
		fmt.Fprintf(p.out, "%d of %d, about %.0f s left: %s: %d token requests, %d errors, %.1f s\n", p.done, p.steps,
			p.left.Seconds(), p.title, o.Requests, o.Errors, time.Since(p.begun).Seconds())
	}
}

// note is a line that stays.
func (p *progress) note(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.out, format+"\n", args...)
}

func (p *progress) clear() {
	if p.terminal {
		p.redraw("")
	}
}

func (p *progress) redraw(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
}
