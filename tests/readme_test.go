package msalredis_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// The README's table names every field of Options, and no other.
func TestReadmeTableHoldsEveryOption(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(harness.Root(t), "msalredis", "options.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(harness.ReadFile(t, "README.md"), "## Options")
	table, _, _ = strings.Cut(table, "\n## ")
	fields := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.TypeSpec); ok && s.Name.Name == "Options" {
			for _, f := range s.Type.(*ast.StructType).Fields.List {
				fields++
				if !regexp.MustCompile(`(?m)^\|[^|]*\b` + f.Names[0].Name + `\b`).MatchString(table) {
					t.Errorf("the README's table lacks %s", f.Names[0].Name)
				}
			}
		}
		return true
	})
	if fields == 0 {
		t.Fatal("no field found: this test shows nothing")
	}
}

// Each guarantee of the README has its number beside lines of docs/guarantees.md, each of which names a test.
func TestReadmeGuaranteesAreInTheDocument(t *testing.T) {
	_, listed, _ := strings.Cut(harness.ReadFile(t, "README.md"), "## What is guaranteed")
	listed, _, _ = strings.Cut(listed, "\n## ")
	shown := map[string]bool{}
	for _, item := range regexp.MustCompile(`(?m)^(\d+)\. `).FindAllStringSubmatch(listed, -1) {
		shown[item[1]] = false
	}
	if len(shown) == 0 {
		t.Fatal("no guarantee found: this test shows nothing")
	}
	tables, _, _ := strings.Cut(harness.ReadFile(t, "docs/guarantees.md"), "\n## ")
	for _, line := range regexp.MustCompile(`(?m)^\|([ \d,]*)\| .*$`).FindAllStringSubmatch(tables, -1) {
		if !strings.Contains(line[0], "Test") {
			t.Errorf("no test: %s", line[0])
		}
		for _, number := range regexp.MustCompile(`\d+`).FindAllString(line[1], -1) {
			if _, ok := shown[number]; !ok {
				t.Errorf("the README has no guarantee %s: %s", number, line[0])
			}
			shown[number] = true
		}
	}
	for number, found := range shown {
		if !found {
			t.Errorf("docs/guarantees.md lacks the README's guarantee %s", number)
		}
	}
}

// Every test that the documents name exists.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	var all strings.Builder
	var documents []string
	err := fs.WalkDir(os.DirFS(harness.Root(t)), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			all.WriteString(harness.ReadFile(t, path))
		case strings.HasSuffix(path, ".md"):
			documents = append(documents, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range documents {
		names := regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]+`).FindAllString(harness.ReadFile(t, document), -1)
		if len(names) == 0 && slices.Contains([]string{"docs/guarantees.md", "docs/redis.md", "SECURITY.md"}, document) {
			t.Errorf("%s names no test", document)
		}
		for _, name := range names {
			if !strings.Contains(all.String(), "func "+name+"(") {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
	}
}

// The Dockerfile has every module of go.work before it downloads what they need: go refuses a workspace that lacks one.
func TestDockerfileHasEveryModule(t *testing.T) {
	before, _, _ := strings.Cut(harness.ReadFile(t, "Dockerfile"), "RUN go mod download")
	modules := regexp.MustCompile(`(?m)^\t\./(\S+)$`).FindAllStringSubmatch(harness.ReadFile(t, "go.work"), -1)
	for _, m := range modules {
		if line := "COPY " + m[1] + "/go.mod " + m[1] + "/go.sum " + m[1] + "/\n"; !strings.Contains(before, line) {
			t.Errorf("the Dockerfile lacks: %s", line)
		}
	}
	if len(modules) == 0 {
		t.Fatal("no module found: this test shows nothing")
	}
}
