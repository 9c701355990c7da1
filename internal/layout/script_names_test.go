package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Every script has the name of its file in metrics and spans.
func TestEveryScriptHasAName(t *testing.T) {
	files, err := filepath.Glob("scripts/*.lua")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(filepath.Base(file), ".lua")
		found := false
		for script, name := range scriptNames {
			found = found || name == want && script.Hash() == redis.NewScript(string(source)).Hash()
		}
		if !found {
			t.Errorf("%s has no name", want)
		}
	}
}
