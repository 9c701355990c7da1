// Package internal_test holds the arrows between the packages of the library.
package internal_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/msal-redis/msal-redis-go/"

// arrows are the packages that msalredis is built on, from the bottom up, and what of the project each may import:
// nothing but packages that stand earlier in this list. None may import msalredis.
var arrows = []struct {
	pkg string
	may []string
}{
	{"internal/telemetry", nil},
	{"internal/redistime", nil},
	{"internal/workers", nil},
	{"internal/redislogin", nil},
	{"internal/failure", nil},
	{"internal/bounded", nil},
	{"internal/heapsize", nil},
	{"internal/bus", []string{"internal/workers"}},
	{"lock", []string{"internal/bus"}},
	{"serializer", nil},
	{"internal/msaldoc", nil},
	{"internal/layout", []string{"internal/msaldoc", "internal/redistime", "serializer"}},
	{"internal/tokenreq", []string{"internal/layout", "internal/msaldoc"}},
	{"internal/tokenresp", []string{"internal/layout", "internal/msaldoc", "internal/redistime"}},
	{"internal/redisop", []string{
		"internal/bus", "internal/layout", "internal/redistime", "internal/telemetry", "internal/workers", "lock",
	}},
	{"internal/record", []string{
		"internal/heapsize", "internal/layout", "internal/msaldoc", "internal/redistime", "serializer",
	}},
	{"internal/tokenstore", []string{
		"internal/bounded", "internal/heapsize", "internal/layout", "internal/msaldoc", "internal/record",
		"internal/redisop", "internal/redistime", "internal/telemetry", "internal/workers", "serializer",
	}},
	{"internal/removal", []string{
		"internal/layout", "internal/msaldoc", "internal/redisop", "internal/redistime", "internal/tokenstore",
		"internal/workers",
	}},
	{"internal/issued", []string{
		"internal/bounded", "internal/layout", "internal/msaldoc", "internal/redistime", "internal/tokenreq",
		"internal/tokenresp", "internal/tokenstore",
	}},
	{"internal/answers", []string{
		"internal/bounded", "internal/heapsize", "internal/layout", "internal/redisop", "internal/redistime",
		"internal/telemetry", "internal/tokenreq", "internal/tokenresp", "internal/tokenstore", "serializer",
	}},
	{"internal/discovery", []string{"internal/bounded", "internal/tokenreq"}},
	{"internal/gate", []string{
		"internal/answers", "internal/discovery", "internal/failure", "internal/issued", "internal/layout",
		"internal/msaldoc", "internal/record", "internal/redislogin", "internal/redisop", "internal/redistime",
		"internal/telemetry", "internal/tokenreq", "internal/tokenresp", "internal/tokenstore", "internal/workers", "lock",
		"serializer",
	}},
	{"internal/accessor", []string{
		"internal/failure", "internal/issued", "internal/layout", "internal/msaldoc", "internal/record",
		"internal/redislogin", "internal/redisop", "internal/redistime", "internal/telemetry", "internal/tokenstore",
		"internal/workers",
	}},
}

// imports are the project's packages that the files of a folder import, tests aside.
func imports(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", folder, len(files), err)
	}
	var all []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range file.Imports {
			path, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if pkg, ours := strings.CutPrefix(path, module); ours && !slices.Contains(all, pkg) {
				all = append(all, pkg)
			}
		}
	}
	return all
}

// Arrows between the library's packages point down: each imports what its line allows, all of it and nothing else, and
// what it allows stands earlier in the list.
func TestArrowsPointDown(t *testing.T) {
	earlier := []string{}
	for _, a := range arrows {
		for _, pkg := range a.may {
			if !slices.Contains(earlier, pkg) {
				t.Errorf("%s may import %s, which does not stand earlier in the list", a.pkg, pkg)
			}
		}
		does := imports(t, a.pkg)
		for _, pkg := range does {
			if !slices.Contains(a.may, pkg) {
				t.Errorf("%s imports %s", a.pkg, pkg)
			}
		}
		for _, pkg := range a.may {
			if !slices.Contains(does, pkg) {
				t.Errorf("%s may import %s, and does not", a.pkg, pkg)
			}
		}
		earlier = append(earlier, a.pkg)
	}
	for _, pkg := range imports(t, "msalredis") {
		if !slices.Contains(earlier, pkg) {
			t.Errorf("msalredis imports %s, whose arrows nothing holds", pkg)
		}
	}
}
