package layout_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const goodToken = `{"home_account_id":"u.t","environment":"login.microsoftonline.com","realm":"t",` +
	`"credential_type":"AccessToken",` +
	`"client_id":"c","secret":"s3cret","target":"a b","refresh_on":"1700001800","expires_on":"1700003600",` +
	`"extended_expires_on":"1700003600","cached_at":"1700000000","token_type":"Bearer"}`

func mustEntry(t testing.TB, section, key, raw string) msaldoc.Entry {
	t.Helper()
	e, err := msaldoc.NewEntry(section, key, []byte(raw))
	if err != nil {
		t.Fatalf("NewEntry(%q): %v", raw, err)
	}
	return e
}

// The files of testdata/v1 are never changed: entries like them are in somebody's Redis.
func TestGoldenEntries(t *testing.T) {
	plain := mustEntry(t, msaldoc.SectionAccessToken, "key é", goodToken)
	declared := plain
	declared.Capabilities, declared.Asked = `{"values":["CP1"]}`, "asked"
	for name, e := range map[string]msaldoc.Entry{"entry.bin": plain, "entry-capabilities.bin": declared} {
		kept, err := os.ReadFile(filepath.Join("testdata", "v1", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, layout.AppendEntry(nil, e)) {
			t.Errorf("%s is no longer written as it was", name)
		}
		back, err := layout.DecodeEntry(kept)
		if err != nil || !back.Equal(e) || back.Capabilities != e.Capabilities || back.Asked != e.Asked {
			t.Errorf("%s is read as another: %v", name, err)
		}
	}
}

func TestEntryCodec(t *testing.T) {
	for _, e := range []msaldoc.Entry{
		mustEntry(t, msaldoc.SectionAccessToken, "k", goodToken),
		mustEntry(t, "X", "", `{"x":5}`),
		mustEntry(t, "", "", `{"x":[]}`),
		mustEntry(t, msaldoc.SectionAccount, strings.Repeat("\x00{}é", 5000), `{"x":1}`),
		mustEntry(t, msaldoc.SectionAccount, "\xff", `{"x":1}`),
	} {
		b := layout.AppendEntry([]byte("before"), e)
		if !bytes.HasPrefix(b, []byte("before\x01")) {
			t.Fatal("it does not append")
		}
		back, err := layout.DecodeEntry(b[6:])
		if err != nil || !back.Equal(e) || back.Place() != e.Place() || string(back.Raw) != string(e.Raw) {
			t.Errorf("%v", err)
		}
	}
	declared := mustEntry(t, msaldoc.SectionAccessToken, "key", goodToken)
	declared.Asked = "asked"
	for _, declared.Capabilities = range []string{msaldoc.NoCapabilities, `{"values":["CP1"]}`} {
		b := layout.AppendEntry(nil, declared)
		for n := range b {
			if _, err := layout.DecodeEntry(b[:n]); !errors.Is(err, msaldoc.ErrEntry) {
				t.Fatalf("with capabilities, cut to %d bytes: %v", n, err)
			}
		}
		back, err := layout.DecodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		for what, e := range map[string]msaldoc.Entry{"": back, " at another time": back.WithTimes(5),
			" in a copy": back.Clone()} {
			if e.Capabilities != declared.Capabilities || e.Asked != declared.Asked {
				t.Errorf("capabilities %q, asked %q come back as %q, %q%s", declared.Capabilities, declared.Asked,
					e.Capabilities, e.Asked, what)
			}
		}
		if !back.Equal(mustEntry(t, msaldoc.SectionAccessToken, "key", goodToken)) {
			t.Error("capabilities make another entry of MSAL's")
		}
	}
	good := layout.AppendEntry(nil, mustEntry(t, msaldoc.SectionAccessToken, "key", goodToken))
	for n := range good {
		if _, err := layout.DecodeEntry(good[:n]); !errors.Is(err, msaldoc.ErrEntry) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"newer version":     {append([]byte{2}, good[1:]...), serializer.ErrVersion},
		"no capabilities":   {append([]byte{'C', 0}, good[1:]...), msaldoc.ErrEntry},
		"version 0":         {append([]byte{0}, good[1:]...), serializer.ErrVersion},
		"endless length":    {[]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, msaldoc.ErrEntry},
		"too long a length": {append([]byte{1}, bytes.Repeat([]byte{0xff}, 20)...), msaldoc.ErrEntry},
		"length of 2^63":    {[]byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, msaldoc.ErrEntry},
		"more than is here": {[]byte{1, 5, 'a'}, msaldoc.ErrEntry},
	} {
		if _, err := layout.DecodeEntry(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(layout.AppendEntry(nil, mustEntry(f, msaldoc.SectionAccessToken, "k", goodToken)))
	f.Add(layout.AppendEntry(nil, mustEntry(f, "X", "", `{"x":5}`)))
	declared := mustEntry(f, msaldoc.SectionAccessToken, "k", goodToken)
	declared.Capabilities, declared.Asked = `{"values":["CP1"]}`, "asked"
	f.Add(layout.AppendEntry(nil, declared))
	f.Fuzz(func(t *testing.T, b []byte) {
		if document, err := msaldoc.Parse(b); err == nil {
			for _, e := range document {
				back, err := layout.DecodeEntry(layout.AppendEntry(nil, e))
				if err != nil || !back.Equal(e) || back.Place() != e.Place() {
					t.Fatalf("an entry did not survive its stored form: %v", err)
				}
			}
		}
		e, err := layout.DecodeEntry(b)
		if err != nil {
			if errors.Is(err, msaldoc.ErrEntry) == errors.Is(err, serializer.ErrVersion) {
				t.Fatalf("%v has not one name", err)
			}
			return
		}
		back, err := layout.DecodeEntry(layout.AppendEntry(nil, e))
		if err != nil || !back.Equal(e) || string(back.Raw) != string(e.Raw) || back.Capabilities != e.Capabilities ||
			back.Asked != e.Asked {
			t.Fatalf("%v", err)
		}
		moved := e.WithTimes(3)
		if one, err := msaldoc.Parse(msaldoc.Assemble([]msaldoc.Entry{moved})); err != nil ||
			moved.Place() != e.Place() || len(one) != 1 {
			t.Fatal("an entry with other times is no entry")
		}
	})
}

// What an error says of bytes that are no entry holds nothing of them.
func TestDecodeEntrySaysNothingOfTheBytes(t *testing.T) {
	const canary = "c4n4ry-0f-4-s3cr3t"
	for _, text := range []string{canary, "\x01\xff" + canary, "\x01\x01k\x01" + canary, "C" + canary,
		"\x01\x00\x00{\"" + canary} {
		if _, err := layout.DecodeEntry([]byte(text)); err == nil || strings.Contains(err.Error(), canary[1:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A fuzz test without seeds passes and tests nothing.
func TestFuzzCorpusIsThere(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzDecodeEntry", "*"))
	if err != nil || len(found) == 0 {
		t.Errorf("FuzzDecodeEntry has no seeds (%v)", err)
	}
	for _, name := range found {
		b, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(b), "go test fuzz v1\n") {
			t.Errorf("%s is no seed", name)
		}
	}
}
