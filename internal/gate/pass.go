package gate

import (
	"bytes"
	"io"
	"net/http"
)

// send sends a request whose response MSAL reads whole: a larger one than most is an error in its place.
func (t *transport) send(req *http.Request, most int64, tooLarge error) (*http.Response, error) {
	resp, err := roundTrip(t.base, req.WithContext(t.g.pass(req.Context())))
	if err == nil {
		resp.Body = &boundedBody{resp.Body, most, tooLarge}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left     int64
	tooLarge error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, b.tooLarge
	}
	return n, err
}

// peek reads a response's body and puts it back. An error: it is larger than most, or broken; what was read is back.
func peek(resp *http.Response, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = errTooLarge
	}
	rest := resp.Body
	if err == nil {
		rest.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), rest), rest}
	}
	return body, err
}
