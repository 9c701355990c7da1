package security_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Whatever is printed of the library's types, in any way, holds no secret; nor do the errors of reading what is wrong.
func TestNothingPrintsSecrets(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	i := w.Instance()
	app := i.App()
	i.SignIn(app, u)
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, w.Assertion(t, u), []string{harness.MailScope}))

	c := harness.NewCanaries()
	_, material, _ := strings.Cut(w.Keys, ":")
	raw, err := base64.StdEncoding.DecodeString(material)
	if err != nil {
		t.Fatal(err)
	}
	c.Forbid("sealing key", material, strings.TrimRight(material, "="), fmt.Sprintf("%x",
		raw), fmt.Sprintf("%X", raw), fmt.Sprint(raw))
	c.Issued(w.Entra.Secrets())
	c.User(u)
	for _, r := range w.Entra.Requests() {
		c.Named(r)
	}
	c.Records(w.Redis.Admin, w.KeysOf())

	keys, err := serializer.ParseKeys(w.Keys)
	if err != nil {
		t.Fatal(err)
	}
	locker := lock.New(i.Redis, nil)
	lease, err := locker.TryAcquire(ctx, w.Prefix+":{x}:lock")
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := locker.Subscribe(ctx, w.Prefix+":{x}:lock")
	if err != nil {
		t.Fatal(err)
	}
	// What has goroutines is printed when they have ended: printing reads without locks.
	if err := errors.Join(lease.Release(ctx), locker.Close()); err != nil {
		t.Fatal(err)
	}
	i.Close()
	entries := w.Records()
	var plain []msaldoc.Entry
	for _, r := range entries {
		plain = append(plain, r.Entry)
		c.Forbid("entry", string(r.Raw))
	}
	if len(plain) == 0 {
		t.Fatal("no entry: this test shows nothing")
	}
	values := map[string][]any{
		"msalredis.Cache":       {i.Tokens},
		"msalredis.Options":     {}, // below
		"msalredis.Telemetry":   {}, // it has providers, the caller's, and nothing else
		"serializer.Key":        {keys[0], &keys[0], keys},
		"msaldoc.Entry":         {plain[0], &plain[0], plain},
		"serializer.Serializer": {w.Sealer(w.Keys), serializer.Plaintext(), serializer.FromAEAD(keyed{raw})},
		"serializer.AEAD":       {}, // the caller's
		"lock.Locker":           {locker},
		"lock.Lease":            {lease, lease.Context()},
		"lock.Options":          {lock.Options{}},
		"lock.Subscription":     {subscription},
		"Cache.Transport":       {i.Tokens.Transport(nil)},
		"Cache.HTTPClient":      {i.Tokens.HTTPClient()},
	}
	for _, dir := range []string{"msalredis", "serializer", "lock"} {
		for _, name := range exportedTypes(t, dir) {
			if _, ok := values[name]; !ok {
				t.Errorf("%s is not among what is printed", name)
			}
		}
	}
	for _, list := range values {
		for _, v := range list {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				c.Saw(fmt.Sprintf(verb, v))
			}
			slog.New(slog.NewTextHandler(c, nil)).Info("x", "v", v)
			slog.New(slog.NewJSONHandler(c, nil)).Info("x", "v", v)
		}
	}

	// Other verbs would look into loggers and providers that are in use.
	c.Saw(fmt.Sprintf("%v %+v", *harness.Options(w.Prefix), harness.Options(w.Prefix)))

	// Errors of what cannot be read.
	for n, bad := range []string{w.Keys + "x", material, "k1:" + material[1:], "k1:" + material + "," + w.Keys,
		strings.Replace(w.Keys, ":", ";", 1), "k;1:" + material, material + ":k1"} {
		_, err := serializer.ParseKeys(bad)
		if err == nil {
			parsed, _ := serializer.ParseKeys(bad)
			_, err = serializer.NewEncrypted(parsed...)
		}
		if err == nil {
			t.Errorf("bad keys %d are accepted", n)
			continue
		}
		c.SawError(err)
	}
	s := w.Sealer(w.Keys)
	for _, r := range entries {
		head := len(harness.HeadOf(r.Value))
		for _, bad := range [][]byte{[]byte(r.Value[head:]), []byte(r.Value[head+1:]), r.Raw} {
			if _, err := s.Open(bad, []byte("elsewhere")); err == nil {
				t.Error("a value opens elsewhere")
			} else {
				c.SawError(err)
			}
		}
		for _, bad := range [][]byte{r.Raw, r.Raw[:len(r.Raw)-1], append([]byte("x"), r.Raw...)} {
			if _, err := layout.DecodeEntry(bad); err == nil {
				t.Error("JSON is decoded as an entry")
			} else {
				c.SawError(err)
			}
		}
		for _, bad := range []string{`{"AccessToken":{"x":` + string(r.Raw[:len(r.Raw)-1]),
			`[` + string(r.Raw) + `]`, string(r.Raw) + `{}`} {
			if _, err := msaldoc.Parse([]byte(bad)); err == nil {
				t.Error("a broken document is parsed")
			} else {
				c.SawError(err)
			}
		}
		if _, err := msaldoc.NewEntry(r.Section, r.Key, r.Raw[:len(r.Raw)-1]); err == nil {
			t.Error("a broken entry is made")
		} else {
			c.SawError(err)
		}
	}
	if text := c.Heard(); !strings.Contains(text, "Key(k1)") || !strings.Contains(text, "Entry(") {
		t.Error("nothing was printed: this test shows nothing")
	}
	for _, l := range c.Leaked() {
		t.Errorf("printed: %s", l)
	}
}

// keyed is a caller's AEAD that holds a key.
type keyed struct{ Secret []byte }

func (keyed) Encrypt(plaintext, _ []byte) ([]byte, error)  { return plaintext, nil }
func (keyed) Decrypt(ciphertext, _ []byte) ([]byte, error) { return ciphertext, nil }

// exportedTypes are those of a package, as package.Type.
func exportedTypes(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				for _, s := range g.Specs {
					if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() {
						names = append(names, dir+"."+s.Name.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no type in %s: this test shows nothing", dir)
	}
	return names
}
