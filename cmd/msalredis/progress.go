package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar shows how far something has come: to a person as a bar, elsewhere by a line every few seconds, as long work that
// says nothing looks like work that hangs.
type bar struct {
	*command
	drawn       *progressbar.ProgressBar // nil: there is no terminal
	what        string
	done, total int
	told        time.Time
}

const tellEvery = 5 * time.Second

func (c *command) bar(total int, what string) *bar {
	b := &bar{command: c, what: what, total: total, told: c.now()}
	if terminal(c.report) {
		b.drawn = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(c.report),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return b
}

func (b *bar) add(n int) {
	if b.drawn != nil {
		_ = b.drawn.Add(n)
		return
	}
	b.done += n
	if now := b.now(); b.done < b.total && now.Sub(b.told) >= tellEvery {
		b.told = now
		say(b.report, "%s: %d of %d", b.what, b.done, b.total)
	}
}

// end takes the bar away. What follows it says what was done.
func (b *bar) end() {
	if b.drawn != nil {
		_ = b.drawn.Exit()
		_ = b.drawn.Clear()
	}
}
