package gate

import (
	"net/http"

	"github.com/msal-redis/msal-redis-go/internal/discovery"
	"github.com/msal-redis/msal-redis-go/internal/failure"
)

var errDocumentTooLarge = failure.New("a discovery document is larger than 256 KiB")

// discover answers a request for a discovery document.
func (t *transport) discover(req *http.Request) (*http.Response, error) {
	if resp := t.g.documents.Answer(req); resp != nil {
		return resp, nil
	}
	resp, err := t.send(req, discovery.AtMost, errDocumentTooLarge)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	if body, err := peek(resp, discovery.AtMost); err == nil { // else MSAL sees what there is
		t.g.documents.Learn(req, resp.Header.Get("Content-Type"), body)
	}
	return resp, nil
}
