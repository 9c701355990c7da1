package entralogin

import (
	"strings"
	"testing"
)

// FuzzObjectID: whatever a credential hands out as a token, it names its principal, or the error says what to set and
// shows nothing of it.
func FuzzObjectID(f *testing.F) {
	for _, s := range []string{
		"eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiI2ZjFkMmMzYi0wYTllLTRkN2MtOGI1YS0xMTIyMzM0NDU1NjYifQ.x", "e30.e30.", "..", "opaque",
		"eyJhbGciOiJub25lIn0.eyJvaWQiOjF9.", "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjFlOTk5fQ.x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := objectID(token)
		if (id == "") != (err != nil) {
			t.Fatalf("neither a principal nor an error: %v", err)
		}
		if err != nil && (!strings.Contains(err.Error(), "Options.Username") ||
			len(token) > 40 && strings.Contains(err.Error(), token)) {
			t.Fatalf("%v", err)
		}
	})
}
