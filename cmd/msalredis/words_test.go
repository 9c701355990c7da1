package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// What connect tells an application to set in its Options, this command has flags for, or says nothing of.
func TestErrorsSpeakOfFlags(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../connect/*.go")
	if err != nil {
		t.Fatal(err)
	}
	advice := 0
	check := func(text string) {
		if !strings.Contains(text, "Options.") {
			return
		}
		advice++
		said := strings.ReplaceAll(inFlags.Replace(text), "the service's Options.Prefix", "")
		if strings.Contains(said, "Options.") {
			t.Errorf("the command says %q", said)
		}
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := literal(e)
			if ok {
				check(text)
			}
			return !ok
		})
	}
	if advice < 8 {
		t.Errorf("%d texts of connect name its Options: are they elsewhere now?", advice)
	}
}

// literal is a string that is written down, in one piece or several.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, ok := literal(e.X)
		b, also := literal(e.Y)
		return a + b, ok && also && e.Op == token.ADD
	}
	return "", false
}

func TestErrorsNameFlagsAndCommands(t *testing.T) {
	t.Parallel()
	s := redistest.StartTLS(t)
	url := "rediss://" + s.Addr()
	const short = "a:AAAA"
	for _, c := range []struct {
		env  map[string]string
		args string
		code int
		want string
	}{
		{map[string]string{"REDIS_URL": url}, "list", exitFailed, "give that CA (--ca)"},
		{map[string]string{"REDIS_URL": url + "?skip_verify=true"}, "list", exitUsage,
			"give the CA (--ca), or give --insecure-skip-verify"},
		{map[string]string{"REDIS_URL": url + "?skip_verify=true"}, "reseal --insecure-skip-verify", exitUsage,
			"msalredis keygen"},
		{map[string]string{"REDIS_URL": url}, "purge --tenant t --ca " + s.CAFile, exitUsage, "msalredis keygen"},
		{map[string]string{"REDIS_URL": url}, "list --tenant t --ca " + s.CAFile, exitUsage, "msalredis keygen"},
		{map[string]string{"REDIS_URL": url}, "doctor --ca " + s.CAFile, exitDone, "msalredis keygen"},
		{map[string]string{"REDIS_URL": url, "TOKEN_CACHE_KEYS": " "}, "list", exitUsage, "msalredis keygen"},
		{map[string]string{"REDIS_URL": url, "TOKEN_CACHE_KEYS": short}, "list", exitUsage, "msalredis keygen"},
	} {
		var out bytes.Buffer
		env := func(name string) string { return c.env[name] }
		code := run(t.Context(), world{strings.Fields(c.args), env, strings.NewReader(""), &out, &out, time.Now})
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, want %d with %q: %s", c.args, code, c.code, c.want, out.String())
		}
	}
}
