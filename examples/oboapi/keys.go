package main

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

// freshKeys is for how long the signing keys are not fetched again. Entra ID publishes a key well before it signs with
// it (https://learn.microsoft.com/entra/identity-platform/signing-key-rollover).
const freshKeys = time.Minute

// seldom answers with what it was answered with a moment ago. go-oidc fetches the signing keys for every token under a
// key id that it does not know, and anybody can make such tokens up.
type seldom struct {
	base http.RoundTripper

	mu      sync.Mutex
	fetched time.Time
	body    []byte
}

func (s *seldom) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil || time.Since(s.fetched) >= freshKeys {
		resp, err := s.base.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			return resp, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return nil, err
		}
		s.body, s.fetched = body, time.Now()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header:        http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(s.body)), Body: io.NopCloser(bytes.NewReader(s.body)),
	}, nil
}
