package gate

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/failure"
)

// Every new MSAL client asks for two documents before its first token: which hosts are one cloud, and where a tenant's
// endpoints are. They are the same for all clients, so the gate remembers them.

// discoveryLife is how long a document is remembered. MSAL keeps it for as long as the client lives; MSAL .NET asks
// anew after a day.
const discoveryLife = 24 * time.Hour

// discoveryAtMost bounds a document; real ones have 2 KB.
const discoveryAtMost = 256 << 10

var errDocumentTooLarge = failure.New("a discovery document is larger than 256 KiB")

// documents are the documents that this process has seen, by address.
type documents struct {
	known bounded.Cache[string, document]
}

type document struct {
	contentType string
	body        []byte
}

func newDocuments(bytes int64) *documents {
	return &documents{bounded.New(otter.Options[string, document]{
		MaximumWeight:    uint64(max(bytes/8, discoveryAtMost)),
		Weigher:          func(url string, d document) uint32 { return uint32(len(url) + len(d.body) + 256) },
		ExpiryCalculator: otter.ExpiryWriting[string, document](discoveryLife),
	})}
}

func isDiscovery(req *http.Request) bool {
	return req.Method == http.MethodGet && (strings.HasSuffix(req.URL.Path, "/.well-known/openid-configuration") ||
		strings.HasSuffix(req.URL.Path, "/discovery/instance"))
}

// discover answers a request for a discovery document.
func (t *transport) discover(req *http.Request) (*http.Response, error) {
	g, address := t.g, req.URL.String()
	if d, ok := g.documents.known.GetIfPresent(address); ok {
		return d.response(req), nil
	}
	resp, err := t.send(req, discoveryAtMost, errDocumentTooLarge)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	body, err := peek(resp, discoveryAtMost)
	if err != nil {
		return resp, nil // MSAL sees what there is
	}
	clouds := strings.HasSuffix(req.URL.Path, "/discovery/instance")
	if g.tenants.learn(req.URL, body) || clouds && bytes.Contains(body, []byte(`"tenant_discovery_endpoint"`)) {
		g.documents.known.Set(address, document{resp.Header.Get("Content-Type"), body})
	}
	return resp, nil
}

func (d document) response(req *http.Request) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {d.contentType}}, Body: io.NopCloser(bytes.NewReader(d.body)),
		ContentLength: int64(len(d.body)), Request: req,
	}
}
