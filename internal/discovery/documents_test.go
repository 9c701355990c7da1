package discovery

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What is no document of the kind that was asked for is not remembered; what is one comes back as it was.
func TestDocumentsAreRemembered(t *testing.T) {
	const (
		endpoints = "https://login.microsoftonline.com/t/v2.0/.well-known/openid-configuration"
		cloud     = "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1"
		named     = `{"token_endpoint":"https://login.microsoftonline.com/t/oauth2/v2.0/token"}`
		hosts     = `{"tenant_discovery_endpoint":"https://login.microsoftonline.com/t/v2.0"}`
	)
	for _, test := range []struct {
		address, body string
		remembered    bool
	}{
		{endpoints, named, true}, {endpoints, hosts, false}, {endpoints, `<html>`, false},
		{cloud, hosts, true}, {cloud, `{"error":"invalid_instance"}`, false},
	} {
		ds := New(1 << 20)
		t.Cleanup(ds.Close)
		req, err := http.NewRequest(http.MethodGet, test.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !Asked(req) {
			t.Errorf("%s asks for no document", test.address)
		}
		ds.Learn(req, "application/json", []byte(test.body))
		resp := ds.Answer(req)
		if (resp != nil) != test.remembered {
			t.Errorf("%s, %s: remembered %v, want %v", test.address, test.body, resp != nil, test.remembered)
		}
		if resp == nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != test.body || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %q %v %v", test.address, body, resp.Header, err)
		}
	}
}

// What is remembered stays within its bound.
func TestDocumentsAreBounded(t *testing.T) {
	ds := New(0) // room for one of the largest
	t.Cleanup(ds.Close)
	body := []byte(`{"token_endpoint":"https://a/t/token","x":"` + strings.Repeat("x", AtMost/4) + `"}`)
	held := 0
	requests := []*http.Request{}
	for _, tenant := range strings.Split("abcdefghijklmnop", "") {
		req, err := http.NewRequest(http.MethodGet, "https://a/"+tenant+"/.well-known/openid-configuration", nil)
		if err != nil {
			t.Fatal(err)
		}
		ds.Learn(req, "", body)
		requests = append(requests, req)
	}
	for _, req := range requests {
		if ds.Answer(req) != nil {
			held += len(body)
		}
	}
	if held == 0 || held > AtMost || ds.Size() < int64(held) {
		t.Errorf("%d bytes are remembered, said to be %d, want %d at most", held, ds.Size(), AtMost)
	}
}
