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

	mu    sync.Mutex
	title string
	begun time.Time
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

// begin announces a step. count is asked for the token requests so far; it may be -1.
func (p *progress) begin(title string, count func() int) {
	p.title, p.begun, p.quit = title, time.Now(), make(chan struct{})
	if !p.terminal {
		return
	}
	quit := p.quit
	p.drawn.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			line := fmt.Sprintf("%s  %4.1f s", p.title, time.Since(p.begun).Seconds())
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
	if !p.terminal && err == nil {
		fmt.Fprintf(p.out, "%s: %d token requests, %d errors, %.1f s\n", p.title, o.Requests, o.Errors,
			time.Since(p.begun).Seconds())
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
