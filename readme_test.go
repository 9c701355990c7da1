package msalredis_test

import (
	"context"
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

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/harness"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// readme is the README's example: what stands between the marks.
func readme(rdb redis.UniversalClient, authority, clientID string, cred confidential.Credential) error {
	// README
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS")) // "2026a:BASE64": 32 random bytes
	if err != nil {
		return err
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return err
	}
	tokens, err := msalredis.New(rdb, sealer, nil)
	if err != nil {
		return err
	}
	defer tokens.Close()
	app, err := confidential.New(authority, clientID, cred,
		confidential.WithCache(tokens),                   // share tokens
		confidential.WithHTTPClient(tokens.HTTPClient())) // one refresh
	// END
	if err != nil {
		return err
	}
	_, err = app.Account(context.Background(), "nobody")
	return err
}

// The README's example is code that compiles and runs.
func TestReadmeExampleCompilesAndRuns(t *testing.T) {
	w := harness.NewWorld(t)
	t.Setenv("TOKEN_CACHE_KEYS", w.Keys)
	cred, err := confidential.NewCredFromSecret(harness.ClientSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := readme(w.Client(), w.Entra.Authority(harness.Tenant), harness.ClientID, cred); err != nil {
		t.Error(err)
	}
	source := harness.ReadFile(t, "readme_test.go")
	_, code, _ := strings.Cut(source, "// README\n")
	code, _, _ = strings.Cut(code, "\t// END")
	code = regexp.MustCompile(`(?m)^\t`).ReplaceAllString(code, "")
	if !strings.Contains(harness.ReadFile(t, "README.md"), "```go\n"+code+"```") {
		t.Error("the README's example is not the one that compiles")
	}
}

// The README's table names every field of Options, and no other.
func TestReadmeTableHoldsEveryOption(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("msalredis", "options.go"), nil, 0)
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

// Every test that the documents name exists.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	var all strings.Builder
	var documents []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
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
		if len(names) == 0 && slices.Contains([]string{"README.md", "docs/guarantees.md", "docs/redis.md"}, document) {
			t.Errorf("%s names no test", document)
		}
		for _, name := range names {
			if !strings.Contains(all.String(), "func "+name+"(") {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
	}
}
