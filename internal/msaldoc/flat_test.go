package msaldoc

import (
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"
)

// What flat reads is valid JSON, and it reads what the general reader does.
func FuzzFlat(f *testing.F) {
	f.Add(goodToken)
	for _, text := range []string{`{}`, `{"a":1}`, `{"a":"1","a":0}`, `{"a":01}`, `{"a":-1}`, `{"a":"x",}`, `{,}`,
		`{"a":"x"}}`, `{"a":"x" }`, `{"a":"\u0041"}`, `{"a"}`, `{"a":{}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		members, ok := flat(text, []byte(text), nil)
		if !ok {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is not valid", text)
		}
		gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
			if len(members) == 0 || members[0].name != unquote(k.Raw) || members[0].raw != v.Raw || members[0].kind != v.Type {
				t.Fatalf("%q: %v, want %s: %s", text, members, k.Raw, v.Raw)
			}
			members = members[1:]
			return true
		})
		if len(members) > 0 {
			t.Fatalf("%q: %v too many", text, members)
		}
	})
}

// MSAL's own entries are flat: else nothing is gained.
func TestEntriesOfMSALAreFlat(t *testing.T) {
	if _, ok := flat(goodToken, []byte(goodToken), nil); !ok {
		t.Error("an access token is read in general")
	}
}

// Control characters, escapes and what is not ASCII are found at any place of a word and after it.
func TestPlainFindsEveryByte(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			text := []byte("abcdefghijklmnopqrst")
			text[at] = byte(c)
			if want := c >= ' ' && c < 0x80 && c != '\\'; plain(text) != want {
				t.Errorf("byte %#x at %d: plain is %v", c, at, !want)
			}
		}
	}
}
