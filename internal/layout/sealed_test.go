package layout_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// FuzzStoredValue: whatever stands at a place in Redis, it is what was sealed for that place, or an error.
func FuzzStoredValue(f *testing.F) {
	key, err := serializer.ParseKeys("k1:" + base64.StdEncoding.EncodeToString(append(bytes.Repeat([]byte{7}, 31), 8)))
	if err != nil {
		f.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("msal:v1:{x}:tokens", "field", int64(1_700_000_000_000_000), int64(1_700_003_600),
		[]byte(`{"secret":"x"}`), 30, byte(1))
	f.Add("", "", int64(-1), int64(1)<<62, []byte{}, 0, byte(0))
	f.Fuzz(func(t *testing.T, key, field string, stamp, expiry int64, content []byte, at int, flip byte) {
		if h := layout.Header(stamp, expiry); len(h) != layout.HeaderSize {
			t.Fatalf("the header has %d bytes", len(h))
		}
		value, err := layout.Seal(sealer, key, field, stamp, expiry, content)
		if err != nil {
			t.Fatal(err)
		}
		got, s, e, err := layout.Open(sealer, key, field, value)
		if err != nil || !bytes.Equal(got, content) || s != min(max(stamp, 0), layout.MaxStamp) ||
			e != min(max(expiry, 0), 9_999_999_999) {
			t.Fatalf("what was sealed does not open: %v", err)
		}
		if flip != 0 {
			changed := []byte(value)
			changed[uint(at)%uint(len(changed))] ^= flip
			if _, _, _, err := layout.Open(sealer, key, field, string(changed)); err == nil {
				t.Fatal("a changed value opens")
			}
		}
		if _, _, _, err := layout.Open(sealer, key+"x", field, value); err == nil {
			t.Fatal("a value opens at another key")
		}
		if _, _, _, err := layout.Open(sealer, key, field+"x", value); err == nil {
			t.Fatal("a value opens in another field")
		}
		// Anything at all in its place.
		if _, _, _, err := layout.Open(sealer, key, field, string(content)); err == nil {
			t.Fatal("a value that was not sealed opens")
		}
		if _, _, _, err := layout.Open(sealer, key, field, value[:layout.HeaderSize]+string(content)); err == nil {
			t.Fatal("a value with a good header that was not sealed opens")
		}
	})
}
