package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar shows how far something has come, to a person; in a log it would be noise.
type bar struct{ *progressbar.ProgressBar }

func (c *command) bar(total int, what string) bar {
	return bar{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(c.report),
		progressbar.OptionSetVisibility(terminal(c.report)),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

func (b bar) add(n int) { _ = b.Add(n) }

// end takes the bar away. What follows it says what was done.
func (b bar) end() { _ = b.Exit(); _ = b.Clear() }
