// Package examples_test holds the promise that what an example says is to be copied compiles in another module, and
// that the README's example runs there.
package examples_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// copied are the files of each example that are to be copied.
var copied = map[string][]string{
	"agents":          {"main.go"},
	"azurefunctions":  {"main.go", "functions.go", "invocation.go", "service.go"},
	"azuresdk":        {"main.go"},
	"businesscentral": {"main.go"},
	"dataverse":       {"main.go"},
	"migrating":       {"importing.go"},
	"multitenant":     {"main.go"},
	"oboapi":          {"main.go", "api.go", "keys.go"},
	"quickstart":      {"main.go"},
	"secretless":      {"main.go"},
	"sharepoint":      {"main.go"},
	"webapp":          {"main.go", "app.go", "sessions.go", "signin.go", "signout.go", "tokens.go"},
}

// Each example's files build in a module of their own that has nothing of this one but its packages; and its first file
// says which files those are. Without a main.go among them they become part of a package of the reader's.
func TestCopiedExamplesBuild(t *testing.T) {
	module := newModule(t)
	for name, files := range copied {
		says := read(t, filepath.Join(name, "main.go"))
		says, _, _ = strings.Cut(says, "\npackage main")
		for _, file := range files {
			text := read(t, filepath.Join(name, file))
			if strings.Contains(text, "msal-redis-go/internal/") {
				t.Errorf("%s/%s imports what another module cannot", name, file)
			}
			if !slices.Contains(files, "main.go") {
				text = strings.Replace(text, "\npackage main\n", "\npackage copied\n", 1)
			}
			write(t, filepath.Join(module, name, file), text)
			if file != "main.go" && !strings.Contains(says, file) {
				t.Errorf("%s/main.go does not say that %s is to be copied too", name, file)
			}
		}
		if !strings.Contains(says, "what to copy") {
			t.Errorf("%s/main.go does not say what is to be copied", name)
		}
	}
	// Vet reads them as the compiler does, and makes no programs that nobody runs.
	inModule(t, module, "vet", "./...")
}

// Help fits a terminal of 80 columns. fleet and the worker, whose flags are most of it, see to themselves.
func TestHelpFitsATerminal(t *testing.T) {
	files, err := filepath.Glob("*/emulated.go")
	if err != nil {
		t.Fatal(err)
	}
	helps := 0
	for _, file := range files {
		help := regexp.MustCompile("(?s)(?:Help: |\"azurefunctions\", )`(.*?)`")
		for _, text := range help.FindAllStringSubmatch(read(t, file), -1) {
			helps++
			for line := range strings.Lines(text[1]) {
				if n := len(strings.TrimSuffix(line, "\n")); n > 80 {
					t.Errorf("%s: %d columns: %s", file, n, line)
				}
			}
		}
	}
	if helps != len(files) {
		t.Errorf("%d help texts in %d files", helps, len(files))
	}
}

// Where a README tells to copy files it names all of them, and no other.
func TestReadmesNameTheFilesToCopy(t *testing.T) {
	readmes, err := filepath.Glob("*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, readme := range append(readmes, "../docs/migrating.md") {
		name := filepath.Base(filepath.Dir(readme))
		if name == "docs" {
			name = "migrating"
		}
		// As far as a sentence goes, or to where it turns to what is not copied.
		_, rest, found := strings.Cut("\n"+read(t, readme), "\nCopy `")
		if !found {
			if files := copied[name]; files != nil {
				t.Errorf("%s does not say to copy %v", readme, files)
			}
			continue
		}
		named++
		sentence := regexp.MustCompile("^[^`]*(`(, | and )`[^`]*)*`").FindString(rest)
		files := strings.FieldsFunc(sentence, func(r rune) bool { return strings.ContainsRune("`, ", r) })
		files = slices.DeleteFunc(files, func(s string) bool { return s == "and" })
		if !slices.Equal(files, copied[name]) {
			t.Errorf("%s says to copy %q, and what is to be copied is %q", readme, files, copied[name])
		}
	}
	if named < 9 {
		t.Errorf("only %d READMEs say what to copy", named)
	}
}

// The README's example runs as it stands there: two processes share a token, for one request to Entra ID.
func TestReadmeExampleRuns(t *testing.T) {
	_, text, _ := strings.Cut(read(t, "../README.md"), "```go\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("the README has no example")
	}
	module := newModule(t)
	write(t, filepath.Join(module, "main.go"), text)
	program := filepath.Join(module, "hello")
	inModule(t, module, "build", "-o", program, ".")

	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer entra.Close()
	const clientID, secret = "3eba9900-0000-4000-8000-000000000003", "known to everybody"
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	authority := filepath.Join(module, "authority.pem")
	write(t, authority, string(entra.CAPEM()))
	key, err := serializer.GenerateKey("k")
	if err != nil {
		t.Fatal(err)
	}
	// Every way out leads to the emulator, as by a company's proxy.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tunnel(w, entra.Host()) }))
	defer proxy.Close()
	environment := append(os.Environ(), "HTTPS_PROXY="+proxy.URL, "SSL_CERT_FILE="+authority, "AZURE_CLIENT_ID="+clientID,
		"AZURE_TENANT_ID="+entratest.DefaultTenant, "AZURE_CLIENT_SECRET="+secret, "TOKEN_CACHE_KEYS="+key.Export(),
		"REDIS_URL="+redistest.Start(t).URL())
	for range 2 {
		p := exec.CommandContext(t.Context(), program)
		p.Env = environment
		out, err := p.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "a token until ") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if n := entra.Count(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// Who imports the library has what it needs in his build list, and nothing of its examples, benchmarks or command.
func TestImporterDoesNotSeeToolsOfTheRepository(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	module := t.TempDir()
	write(t, filepath.Join(module, "go.mod"), "module example.com/importer\n\ngo 1.26.0\n\n"+
		"require github.com/msal-redis/msal-redis-go v0.0.0\n\nreplace github.com/msal-redis/msal-redis-go => "+root+"\n")
	write(t, filepath.Join(module, "go.sum"), read(t, filepath.Join(root, "go.sum")))
	_, text, _ := strings.Cut(read(t, "../README.md"), "```go\n")
	text, _, _ = strings.Cut(text, "```")
	write(t, filepath.Join(module, "main.go"), text)
	importer := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "go", args...)
		c.Dir, c.Env = module, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		out, err := c.Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	importer("list", "-deps", ".") // writes what is imported into go.mod
	list := importer("list", "-m", "all")
	if n := strings.Count(list, "\n"); n > 35 {
		t.Errorf("%d modules, where 35 are promised:\n%s", n, list)
	}
	if !strings.Contains(list, "redis/go-redis") {
		t.Errorf("the list lacks go-redis, and this test shows nothing:\n%s", list)
	}
	for _, tool := range []string{"gonum.org/v1/plot", "chromedp", "toxiproxy", "prometheus", "keyvault", "cobra", "pflag",
		"progressbar", "staticcheck", "honnef.co", "opentelemetry", "tink", "go-oidc"} {
		if strings.Contains(list, tool) {
			t.Errorf("an importer sees %s:\n%s", tool, list)
		}
	}
}

// tunnel serves CONNECT (RFC 9110 section 9.3.6): all that follows goes to an address.
func tunnel(w http.ResponseWriter, address string) {
	there, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		there.Close()
		return
	}
	for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			way[0].Close()
		}()
	}
}

// newModule is another module, which takes the library from the folder above, in the versions of the examples' go.mod:
// nothing is downloaded.
func newModule(t *testing.T) (folder string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	mod, _, _ := strings.Cut(read(t, "go.mod"), "\nreplace (")
	mod = strings.Replace(mod, "module github.com/msal-redis/msal-redis-go/examples", "module example.com/copied", 1)
	mod = regexp.MustCompile(`(?m)^\tgithub.com/msal-redis/msal-redis-go/.*$`).ReplaceAllString(mod, "")
	mod += "\nreplace github.com/msal-redis/msal-redis-go => " + root + "\n"
	write(t, filepath.Join(folder, "go.mod"), mod)
	write(t, filepath.Join(folder, "go.sum"), read(t, "go.sum"))
	return folder
}

// inModule runs go as the tests are built, or all that is imported would be compiled once more.
func inModule(t *testing.T, folder, command string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go",
		append([]string{command, "-mod=mod", "-race", "-gcflags=all=-dwarf=false"}, args...)...)
	c.Dir, c.Env = folder, append(os.Environ(), "GOPROXY=off", "GOWORK=off", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
