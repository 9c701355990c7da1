package internal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A fuzz test whose seeds are lost still passes: each folder of seeds has its target beside it.
func TestFuzzSeedsAreThere(t *testing.T) {
	found := 0
	for _, pattern := range []string{"../*/testdata/fuzz/*", "../*/*/testdata/fuzz/*"} {
		folders, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			seeds, err := filepath.Glob(filepath.Join(folder, "*"))
			if err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seeds (%v)", folder, err)
			}
			target := []byte("func " + filepath.Base(folder) + "(f *testing.F)")
			sources, err := filepath.Glob(filepath.Join(folder, "..", "..", "..", "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			there := false
			for _, source := range sources {
				text, err := os.ReadFile(source)
				if err != nil {
					t.Fatal(err)
				}
				there = there || bytes.Contains(text, target)
			}
			if !there {
				t.Errorf("the seeds in %s have no target", folder)
			}
			found++
		}
	}
	if found < 10 {
		t.Errorf("%d folders of seeds", found)
	}
}
