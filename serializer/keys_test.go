package serializer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestParseKeys(t *testing.T) {
	// Bytes whose base64 has the characters in which the alphabets differ.
	raw := bytes.Repeat([]byte{0xfb, 0xff, 0xbf}, 11)[:32]
	std, url := base64.StdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw)
	other := base64.StdEncoding.EncodeToString(fixedBytes(7))
	if !strings.ContainsAny(std, "+/") || !strings.ContainsAny(url, "-_") {
		t.Fatal("the sample does not tell the alphabets apart")
	}
	for name, text := range map[string]string{
		"standard":       "2026b:" + std,
		"unpadded":       "2026b:" + strings.TrimRight(std, "="),
		"URL":            "2026b:" + url,
		"URL, unpadded":  "2026b:" + strings.TrimRight(url, "="),
		"white space":    " \t2026b : " + std + " \r\n",
		"folded":         "2026b:" + std[:20] + "\n  " + std[20:] + "\n",
		"byte order":     "\ufeff2026b:" + std,
		"no-break space": "\u00a02026b:" + std,
	} {
		keys, err := ParseKeys(text)
		if err != nil || len(keys) != 1 || keys[0].ID() != "2026b" || !bytes.Equal(keys[0].secret()[:], raw) {
			t.Errorf("%s: %v %v", name, keys, err)
		}
	}
	keys, err := ParseKeys("2026b:" + std + ",\n2026a:" + other + "\n")
	if err != nil || len(keys) != 2 || keys[0].ID() != "2026b" || keys[1].ID() != "2026a" {
		t.Fatalf("%v %v", keys, err)
	}
}

func TestParseKeysErrors(t *testing.T) {
	k := base64.StdEncoding.EncodeToString(fixedBytes(1))
	for _, c := range []struct{ text, want string }{
		{"", "there is none"},
		{" \n\t", "there is none"},
		{"a:" + k + ",", "key 2 is empty: remove the comma"},
		{",a:" + k, "key 1 is empty"},
		{"a:" + k + "," + k, "key 2 has no colon: write id:BASE64"},
		{":" + k, "key 1 has no id"},
		{k + ":a", "key 1 has an id that cannot be used: it must have 1 to 32 letters"},
		{"a b!:" + k, "key 1 has an id that cannot be used"},
		{"é:" + k, "key 1 has an id that cannot be used"},
		{strings.Repeat("a", 33) + ":" + k, "key 1 has an id that cannot be used"},
		{"a:" + k + "\nb:" + k, `key 1 (id "a") has a second colon: put a comma between two keys`},
		{"a:" + k + ",b:%%%", `key 2 (id "b") is not base64`},
		{"a:" + k + ",b:", `key 2 (id "b") holds 0 bytes: it must hold 32`},
		{"b:" + k[:40], `key 1 (id "b") holds 30 bytes`},
		{"b:" + strings.Repeat("0123456789abcdef", 4), `key 1 (id "b") holds 48 bytes`},
		{"a:" + k + ",b:" + k + ",a:" + k, `keys 1 and 3 have the same id "a"`},
		{"a:" + k[:42] + "1=", `key 1 (id "a") is not base64`}, // the last character has bits to spare
	} {
		keys, err := ParseKeys(c.text)
		if !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), c.want) || keys != nil {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	for _, id := range []string{"a", "2026-01.b_C", strings.Repeat("x", 32)} {
		k, err := GenerateKey(id)
		if err != nil || k.ID() != id {
			t.Fatalf("%v: %v", k, err)
		}
		back, err := ParseKeys(k.Export())
		if err != nil || *back[0].secret() != *k.secret() || back[0].ID() != id {
			t.Errorf("the export does not read back: %v", err)
		}
		if other, _ := GenerateKey(id); *other.secret() == *k.secret() {
			t.Error("two keys are equal")
		}
	}
	for _, id := range []string{"", "a:b", "a,b", "a b", "é", strings.Repeat("x", 33)} {
		if _, err := GenerateKey(id); !errors.Is(err, ErrKeys) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if (Key{}).Export() != "" || (Key{}).String() != "Key()" {
		t.Error("the zero Key")
	}
}

func FuzzParseKeys(f *testing.F) {
	k := base64.StdEncoding.EncodeToString(fixedBytes(1))
	for _, s := range []string{"", "a:" + k, "a:" + k + ",b:" + k, "a:" + k + "\nb:" + k, ":", ",", "a:", k,
		"a:" + k + ",b:" + base64.StdEncoding.EncodeToString(fixedBytes(2)), "z:" + strings.Repeat("A", 43)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil {
			if !errors.Is(err, ErrKeys) || keys != nil {
				t.Fatalf("%v %v", keys, err)
			}
			return
		}
		if _, err := NewEncrypted(keys...); err != nil {
			t.Fatalf("parsed keys are refused: %v", err)
		}
		var again []string
		for _, k := range keys {
			again = append(again, k.Export())
		}
		back, err := ParseKeys(strings.Join(again, ","))
		if err != nil || len(back) != len(keys) {
			t.Fatalf("the export does not read back: %v", err)
		}
	})
}

// What is no secret is no key, and a key under a second id is no second key: by ParseKeys and by NewEncrypted.
func TestKeysThatAreNone(t *testing.T) {
	a, b := fixedBytes(1), fixedBytes(2)
	nearly := bytes.Repeat([]byte{0}, 32)
	nearly[31] = 1
	for _, c := range []struct {
		name string
		keys [][]byte
		want string // "": they are keys
	}{
		{"zeros", [][]byte{make([]byte, 32)}, `key 1 (id "k0") is one byte 32 times`},
		{"ones", [][]byte{bytes.Repeat([]byte{0xff}, 32)}, "one byte 32 times"},
		{"a letter", [][]byte{[]byte(strings.Repeat("a", 32))}, "one byte 32 times"},
		{"zeros last", [][]byte{a, b, make([]byte, 32)}, `key 3 (id "k2") is one byte`},
		{"one under two ids", [][]byte{a, a}, `keys 1 and 2 (ids "k0" and "k1") are the same key`},
		{"one under two ids, apart", [][]byte{a, b, a}, `keys 1 and 3 (ids "k0" and "k2") are the same key`},
		{"nearly zeros", [][]byte{nearly}, ""},
		{"two", [][]byte{a, b}, ""},
	} {
		var texts []string
		var keys []Key
		for i, k := range c.keys {
			id := "k" + string(rune('0'+i))
			texts = append(texts, id+":"+base64.StdEncoding.EncodeToString(k))
			keys = append(keys, newKey(id, (*[keySize]byte)(k)))
		}
		_, parsed := ParseKeys(strings.Join(texts, ","))
		_, made := NewEncrypted(keys...)
		for by, err := range map[string]error{"ParseKeys": parsed, "NewEncrypted": made} {
			if (err == nil) != (c.want == "") ||
				err != nil && (!errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, %s: %v, want %q", c.name, by, err, c.want)
			}
		}
	}
}
