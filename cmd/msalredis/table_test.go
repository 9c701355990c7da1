package main

import (
	"os"
	"strings"
	"testing"
)

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

// What docs/operations.md shows of a narrow terminal is what there is to see.
func TestDocumentedNarrowList(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := strings.Split("KIND,ID,TENANT,ACCOUNT,CLIENT,SCOPES,TOKEN EXPIRES,RECORD GOES,SIZE", ",")
	got := stacked(headings, [][]string{
		{"obo-answer", "C85a6LbBWNRlKELOX4lxhsM7", "7c1f2a4e-5b0d-4e6a-9c3b-2f8e1d0a6b59", "ada@contoso.com",
			"11111111-aaaa-4bbb-8ccc-000000000001", "https://graph.microsoft.com/user.read", "in 59 min", "in 59 min", "3023 B"},
	}, []string{"TENANT", "ACCOUNT", "CLIENT", "SCOPES"}, 80)
	if !strings.Contains(string(doc), "```\n"+got+"```\n") {
		t.Errorf("docs/operations.md has no\n%s", got)
	}
}
