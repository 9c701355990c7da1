package long_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/long"
)

// calls tells whether a statement is a call of long.Test.
func calls(s ast.Stmt) bool {
	expr, _ := s.(*ast.ExprStmt)
	if expr == nil {
		return false
	}
	call, _ := expr.X.(*ast.CallExpr)
	if call == nil {
		return false
	}
	f, _ := call.Fun.(*ast.SelectorExpr)
	if f == nil {
		return false
	}
	pkg, _ := f.X.(*ast.Ident)
	return pkg != nil && pkg.Name == "long" && f.Sel.Name == "Test"
}

// A test is named TestLong… where it begins with long.Test, and only there: make test-long selects by the name, and
// make test leaves out by the call.
func TestNameAndMarkGoTogether(t *testing.T) {
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, _ := decl.(*ast.FuncDecl)
			if f == nil || f.Recv != nil || f.Body == nil || path == "long_test.go" {
				continue
			}
			named := strings.HasPrefix(f.Name.Name, "TestLong")
			if named {
				found++
			}
			if marked := len(f.Body.List) > 0 && calls(f.Body.List[0]); named != marked {
				t.Errorf("%s: %s: named as a long test %t, marked as one %t", path, f.Name.Name, named, marked)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("no long test was found: this test shows nothing")
	}
}

func TestRunsWhereAsked(t *testing.T) {
	for value, skipped := range map[string]bool{"1": false, "": true, "0": true} {
		t.Setenv("MSALREDIS_LONG", value)
		t.Run("MSALREDIS_LONG="+value, func(t *testing.T) {
			defer func() {
				if t.Skipped() != skipped {
					t.Errorf("skipped %t, want %t", t.Skipped(), skipped)
				}
			}()
			long.Test(t)
		})
	}
}
