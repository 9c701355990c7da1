package stage

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// RoundTrip is a base transport in a function.
type RoundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f RoundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Says answers with a body, and a header as name and value in turn.
func Says(status int, body string, header ...string) RoundTrip {
	return func(req *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{
			StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
			Request: req,
		}, nil
	}
}

// GoodToken is a token endpoint's answer with the token "a".
const GoodToken = `{"access_token":"a","expires_in":3600,"token_type":"Bearer"}`

// Ask sends a token request through a gate.
func Ask(ctx context.Context, gate http.RoundTripper, form string) (status int, body string, err error) {
	const endpoint = "https://login.example.com/t/oauth2/v2.0/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Client{Transport: gate}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// AppForm is a request for an app's token.
func AppForm(scope string) string {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"s"}, "scope": {scope},
	}.Encode()
}
