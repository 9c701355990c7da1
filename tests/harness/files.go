package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// Root is the repository's root, found from the folder in which a test runs.
func Root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.work")); err == nil {
			return folder
		}
		up := filepath.Dir(folder)
		if up == folder {
			t.Fatal("no go.work above the folder in which the test runs")
		}
		folder = up
	}
}

// ReadFile reads a file by its path from the repository's root.
func ReadFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
