package main

import (
	"fmt"
	"strings"
)

// colours are SGR's, for the eye that looks for what is wrong. skip has none: it is no judgement.
var colours = map[string]string{statusOK: "32", statusWarn: "33", statusFail: "31"}

// colourful tells whether the output goes to a person's terminal that has colours, and who has not turned them off
// (https://no-color.org).
func (c *command) colourful() bool {
	return terminal(c.out) && c.env("NO_COLOR") == "" && c.env("TERM") != "dumb"
}

// sayStatus prints a status, in its colour where there are colours, and then a line as say does. Only what this file
// writes reaches the terminal as it is.
func (c *command) sayStatus(status, format string, args ...any) error {
	shown := fmt.Sprintf("%-4s", status)
	if colour := colours[status]; colour != "" && c.colourful() {
		shown = strings.Replace(shown, status, "\x1b["+colour+"m"+status+"\x1b[0m", 1)
	}
	if _, err := fmt.Fprint(c.out, shown); err != nil {
		return err
	}
	return say(c.out, format, args...)
}
