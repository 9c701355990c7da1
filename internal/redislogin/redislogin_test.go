package redislogin

import (
	"context"
	"net/http"
	"testing"
)

// A request for Redis's token is known as such however far its context is handed down, and nothing else is taken for
// one.
func TestMarked(t *testing.T) {
	type key struct{} // another package's, of the same name
	none := context.Background()
	marked := Mark(none)
	child, cancel := context.WithCancel(context.WithValue(marked, key{}, false))
	cancel()
	req, err := http.NewRequestWithContext(child, http.MethodPost, "https://login.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ctx  context.Context
		want bool
	}{
		"not marked":                       {none, false},
		"what another package says":        {context.WithValue(none, key{}, true), false},
		"marked":                           {marked, true},
		"a request's, that has ended":      {req.Context(), true},
		"a child's that outlives the mark": {context.WithoutCancel(child), true},
		"marked again":                     {Mark(child), true},
	} {
		if got := Marked(test.ctx); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
