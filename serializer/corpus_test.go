package serializer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A fuzz test without seeds passes and tests nothing.
func TestFuzzCorpusIsThere(t *testing.T) {
	for _, target := range []string{"FuzzOpen", "FuzzParseKeys", "FuzzRoundTrip"} {
		found, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(found) == 0 {
			t.Errorf("testdata/fuzz/%s has no seeds (%v)", target, err)
		}
		for _, name := range found {
			b, err := os.ReadFile(name)
			if err != nil || !strings.HasPrefix(string(b), "go test fuzz v1\n") {
				t.Errorf("%s is no seed", name)
			}
		}
	}
}
