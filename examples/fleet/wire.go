package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// markField names, in a token request to the emulator, the worker that sent it.
const markField = "fleet_worker"

// wire is the last thing a token request passes in its process: below MSAL and below the gate. What it sees is sent.
type wire struct {
	base   http.RoundTripper
	worker int
	mark   bool // with the emulator only: the real Entra ID is not sent anything of ours

	mu   sync.Mutex
	sent []request
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/oauth2/v2.0/token") {
		return w.base.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	w.mu.Lock()
	w.sent = append(w.sent, request{w.worker, token{tenant, resourceScope(form.Get("scope"))}, time.Now()})
	w.mu.Unlock()
	if w.mark {
		form.Set(markField, strconv.Itoa(w.worker))
		body = []byte(form.Encode())
	}
	sent := req.Clone(req.Context())
	sent.Body, sent.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	sent.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return w.base.RoundTrip(sent)
}

// take returns what was sent since the last time.
func (w *wire) take() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// resourceScope is a scope parameter without what MSAL adds to every one.
func resourceScope(scope string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(scope), func(s string) bool {
		return s == "openid" || s == "offline_access" || s == "profile"
	}), " ")
}
