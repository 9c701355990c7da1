package main

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// request sends an invocation of an HTTP trigger and returns what its function was given.
func request(t *testing.T, data string) (got httpRequest, code int) {
	t.Helper()
	h := plain("req", func(_ context.Context, r httpRequest) (*result, error) {
		got = r
		return &result{}, nil
	})
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest(http.MethodPost, "/export", strings.NewReader(`{"Data":{"req":`+data+`},"Metadata":{}}`)))
	return got, w.Code
}

// What hosts send is taken, and what no host sends is refused and not taken for something else.
func TestHTTPTriggers(t *testing.T) {
	stand, err := json.Marshal(httpTrigger)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, data string
		query      map[string]string
		code       int
	}{
		{"the stand-in host's", string(stand), map[string]string{"since": "2026"}, 200},
		{"as documented", `{"Url":"http://localhost:7071/api/order","Method":"POST","Query":"{}",` +
			`"Headers":{"Content-Type":["application/json"]},"Params":{},"Body":"{\"id\":1005}"}`, nil, 200},
		{"with a query", `{"Query":"{\"name\":\"Ada\",\"n\":\"1,2\"}"}`, map[string]string{"name": "Ada", "n": "1,2"}, 200},
		{"an older host's", `{"Query":{"name":"Ada"},"Identities":[]}`, map[string]string{"name": "Ada"}, 200},
		{"an empty query", `{"Query":""}`, nil, 200},
		{"a query that is null", `{"Query":null}`, nil, 200},
		{"a query whose text is null", `{"Query":"null"}`, nil, 200},
		{"no query", `{}`, nil, 200},
		{"a typed route and no body", `{"Method":"GET","Query":"{}","Params":{"id":7,"name":"x"}}`, nil, 200},
		{"a query that holds no JSON", `{"Query":"name=Ada"}`, nil, 400},
		{"a query that holds a list", `{"Query":"[]"}`, nil, 400},
		{"a query that is a number", `{"Query":7}`, nil, 400},
		{"a query in a string in a string", `{"Query":"\"{}\""}`, nil, 400},
	} {
		got, code := request(t, tt.data)
		if code != tt.code || !maps.Equal(got.Query, tt.query) {
			t.Errorf("%s: %d with the query %v; want %d with %v", tt.name, code, got.Query, tt.code, tt.query)
		}
	}
}

func FuzzInvocations(f *testing.F) {
	f.Add(`{"Data":{"req":{"Query":"{}","Params":{"id":1},"Headers":{"A":["b"]}}},"Metadata":{"sys":{}}}`)
	f.Add(`{"Data":{"req":{"Query":{"a":"b"}}}}`)
	f.Add(`{"Data":{"req":"{}"}}`)
	f.Add(`{"Data":null}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		called := false
		h := plain("req", func(context.Context, httpRequest) (*result, error) {
			called = true
			return &result{}, nil
		})
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest(http.MethodPost, "/export", strings.NewReader(body)))
		if called != (w.Code == http.StatusOK) || !called && w.Code != http.StatusBadRequest {
			t.Errorf("%d, and the function was called: %v", w.Code, called)
		}
	})
}
