package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/long"
)

// shown are the examples whose output a document shows, with the flags that they are run with here.
var shown = map[string]struct {
	document string
	flags    []string
}{
	"agents":          {"agents/README.md", nil},
	"azuresdk":        {"azuresdk/README.md", nil},
	"businesscentral": {"businesscentral/README.md", nil},
	"dataverse":       {"dataverse/README.md", nil},
	"migrating":       {"../docs/migrating.md", nil},
	"multitenant":     {"multitenant/README.md", nil},
	"oboapi":          {"oboapi/README.md", []string{"-addr", "127.0.0.1:0"}},
	"quickstart":      {"quickstart/README.md", nil},
	"secretless":      {"secretless/README.md", nil},
	"sharepoint":      {"sharepoint/README.md", nil},
}

// varying is what differs from run to run.
var varying = []struct{ pattern, stands string }{
	{`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `, ""}, // before a log line
	{`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "ID"},
	{`127\.0\.0\.1:\d+`, "ADDRESS"},
	{`[0-9a-f]{12}, good until [\d:]{8}`, "FINGERPRINT and time"},
	{`\d+ x 429`, "some 429"},               // businesscentral: who comes together does so by chance
	{`token requests: 20\d\b`, "about 200"}, // multitenant: on a slow machine a refusal's two seconds may pass
}

// What a document shows of a run is what it prints, log lines too.
func TestLongShownOutputIsWhatARunPrints(t *testing.T) {
	long.Test(t)
	programs := t.TempDir()
	args := []string{"build", "-race", "-gcflags=all=-dwarf=false", "-o", programs + "/"}
	for name := range shown {
		args = append(args, "./"+name)
		files, err := filepath.Glob(name + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			read(t, file) // go test keeps a result until a file that the test has opened changes
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	environment := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AZURE_") || strings.HasPrefix(v, "REDIS_URL=")
	})
	for name, s := range shown {
		t.Run(name, func(t *testing.T) {
			p := exec.CommandContext(t.Context(), filepath.Join(programs, name), s.flags...)
			p.Env = environment
			out, err := p.CombinedOutput()
			if err != nil {
				t.Fatalf("%v:\n%s", err, out)
			}
			prints, shows := lines(string(out)), lines(outputIn(read(t, s.document)))
			if !slices.Equal(prints, shows) {
				t.Errorf("it prints\n%s\nand %s shows, but for what differs from run to run:\n%s",
					strings.Join(prints, "\n"), s.document, strings.Join(shows, "\n"))
			}
		})
	}
}

// outputIn is the indented part of a document that counts token requests.
func outputIn(document string) string {
	for _, part := range regexp.MustCompile(`(?m)(^    .*\n|^\n)+`).FindAllString(document, -1) {
		if strings.Contains(part, "token requests") {
			return regexp.MustCompile(`(?m)^    (\$ go run .*)?`).ReplaceAllString(part, "")
		}
	}
	return ""
}

// lines are the different ones of an output, sorted: which of two processes is first is chance.
func lines(output string) []string {
	for _, v := range varying {
		output = regexp.MustCompile(v.pattern).ReplaceAllString(output, v.stands)
	}
	all := strings.Split(output, "\n")
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(line string) bool { return line == "" })
}
