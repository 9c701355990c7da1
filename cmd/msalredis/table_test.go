package main

import "testing"

// What does not fit stands below its row, as many parts to a line as fit, and words are never cut.
func TestStacked(t *testing.T) {
	t.Parallel()
	got := stacked([]string{"ID", "TENANT", "SCOPES", "SIZE"}, [][]string{
		{"a", "12345", "x y", "1 B"},
		{"b", "12345", "one two three four", "2 B"},
		{"c", "", "a-word-that-is-longer-than-a-line b", ""},
		{"d", "", "", "4 B"},
	}, []string{"TENANT", "SCOPES"}, 26)
	want := `ID  SIZE
a   1 B
  tenant 12345  scopes x y
b   2 B
  tenant 12345
  scopes one two three
    four
c   -
  scopes a-word-that-is-longer-than-a-line
    b
d   4 B
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
