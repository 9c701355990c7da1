package bench

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
)

const (
	newClient      = "new client in a process that has the token"
	newClientGated = newClient + ", gate alone"
)

// remembering is plain MSAL whose requests are answered at once, with what was answered first: what no way of sharing a
// new client's token can do without.
var remembering = contender{"plain MSAL, all answered at once", func(_ place, base http.RoundTripper) (process, error) {
	return process{http: &http.Client{Transport: &remembered{base, map[string][]byte{}}}}, nil
}}

// handing is that with the JSON that no accessor can do without which shares tokens: what a new client holds is
// marshalled and given back to it, something is handed over, and all is marshalled again.
var handing = contender{remembering.name + ", and JSON", func(at place, base http.RoundTripper) (process, error) {
	p, err := remembering.start(at, base)
	p.accessor = &handsOver{}
	return p, err
}}

type handsOver struct {
	marshalling
	met cache.Unmarshaler
}

func (h *handsOver) Replace(_ context.Context, u cache.Unmarshaler, _ cache.ReplaceHints) error {
	if h.met == u {
		return nil
	}
	h.met = u
	held, err := u.(cache.Marshaler).Marshal()
	if err != nil {
		return err
	}
	if err := u.Unmarshal(held); err != nil {
		return err
	}
	return u.Unmarshal([]byte(`{"AppMetadata":{"appmetadata-login.microsoftonline.com-` + clientID + `":{"client_id":"` +
		clientID + `","environment":"login.microsoftonline.com"}}}`))
}

// remembered answers from memory. One goroutine uses it.
type remembered struct {
	base http.RoundTripper
	said map[string][]byte
}

func (r *remembered) RoundTrip(req *http.Request) (*http.Response, error) {
	at := req.Method + req.URL.String()
	body, ok := r.said[at]
	if !ok {
		resp, err := r.base.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			return resp, err
		}
		if body, err = io.ReadAll(resp.Body); err != nil {
			return nil, err
		}
		resp.Body.Close()
		r.said[at] = body
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req}, nil
}

// BenchmarkNewClient is the first call of a new MSAL client in a process that has the token already: with the accessor,
// and by the gate alone, as a credential of the Azure SDK asks.
func BenchmarkNewClient(b *testing.B) {
	for _, workload := range []string{newClient, newClientGated} {
		b.Run(workload, func(b *testing.B) {
			w := newWorld(b)
			var turns []turn
			for _, c := range []contender{remembering, handing, naively, library} {
				p := w.with(b, c, w.entra.Transport())
				if workload == newClientGated && c.name == library.name {
					p.accessor = nil
				}
				call := func() float64 {
					app := w.app(b, p, tenantName(0))
					return timedCalls(b, 1, func() error {
						_, err := app.AcquireTokenByCredential(context.Background(), scopes(graph))
						return err
					})[0]
				}
				for range 3 {
					call()
					time.Sleep(50 * time.Millisecond) // what is kept behind the first
				}
				const n = 50
				before, _ := w.commands()
				for range n {
					call()
				}
				after, _ := w.commands()
				turns = append(turns, turn{
					name: c.name, take: func() []float64 { return []float64{call()} },
					more: func() []any { return []any{"commands in Redis", float64(after-before-1) / n} },
				})
			}
			inTurns(b, workload, 0, turns...)
		})
	}
}
