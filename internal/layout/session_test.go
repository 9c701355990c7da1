package layout_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// A value says its session, and does not open with another.
func TestSessionOfAValue(t *testing.T) {
	s := serializer.Plaintext()
	for _, session := range []int64{0, 1, 1_700_000_000_000_000, layout.MaxStamp} {
		value, err := layout.SealSession(s, "k", "f", 2, 3, session, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		content, stamp, expiry, err := layout.Open(s, "k", "f", value)
		if err != nil || string(content) != "content" || stamp != 2 || expiry != 3 || layout.Session(value) != session {
			t.Errorf("%d: %q %d %d %d %v", session, content, stamp, expiry, layout.Session(value), err)
		}
		if session == 0 {
			continue
		}
		for _, changed := range []string{
			value[:layout.HeaderSize] + "s0000000000000002" + layout.Sealed(value),
			value[:layout.HeaderSize] + layout.Sealed(value),
		} {
			if _, _, _, err := layout.Open(s, "k", "f", changed); err == nil {
				t.Errorf("%d: opens with another session", session)
			}
		}
	}
}
