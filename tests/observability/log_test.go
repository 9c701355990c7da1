package observability_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Every message in the code is in the document at its level, and no other is.
func TestLogMessagesAreDocumented(t *testing.T) {
	_, text, _ := strings.Cut(harness.ReadFile(t, "docs/observability.md"), "\n## Log\n")
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| (WARN|INFO) \\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		listed[m[1]+" "+m[2]] = true
	}
	logged := map[string]bool{}
	for _, folder := range loggers(t) {
		eachSource(t, folder, func(file *ast.File) {
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				f, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || f.Sel.Name != "Warn" && f.Sel.Name != "Info" {
					return true
				}
				message, ok := literal(call.Args[0])
				if !ok {
					t.Errorf("a message in %s is no literal, and not held to the document", folder)
					return true
				}
				logged[strings.ToUpper(f.Sel.Name)+" "+message] = true
				return true
			})
		})
	}
	for m := range logged {
		if !listed[m] {
			t.Errorf("the document lacks: %s", m)
		}
	}
	for m := range listed {
		if !logged[m] {
			t.Errorf("the document lists what the code does not say: %s", m)
		}
	}
	if len(logged) == 0 {
		t.Error("no message found: this test shows nothing")
	}
}

// literal is the text of a string that the source has whole, or in parts that are joined.
func literal(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, isLeft := literal(e.X)
		right, isRight := literal(e.Y)
		return left + right, isLeft && isRight && e.Op == token.ADD
	}
	return "", false
}

// loggers are the folders whose packages may log: msalredis, and those of internal that it is built on.
func loggers(t *testing.T) []string {
	t.Helper()
	const module = "github.com/msal-redis/msal-redis-go/"
	all := []string{"msalredis"}
	for i := 0; i < len(all); i++ {
		eachSource(t, all[i], func(file *ast.File) {
			for _, s := range file.Imports {
				path, _ := strconv.Unquote(s.Path.Value)
				folder := strings.TrimPrefix(path, module)
				if strings.HasPrefix(folder, "internal/") && !slices.Contains(all, folder) {
					all = append(all, folder)
				}
			}
		})
	}
	if !slices.Contains(all, "internal/telemetry") {
		t.Fatalf("%v: the messages of internal packages are not looked at", all)
	}
	return all
}

// eachSource parses the Go files of a folder, tests aside.
func eachSource(t *testing.T, folder string, f func(*ast.File)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(harness.Root(t), folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			f(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
