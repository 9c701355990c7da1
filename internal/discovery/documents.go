package discovery

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
)

// life is how long a document is remembered. MSAL keeps it for as long as the client lives; MSAL .NET asks anew after a
// day.
const life = 24 * time.Hour

// AtMost bounds a document; real ones have 2 KB.
const AtMost = 256 << 10

// Documents are the documents that this process has seen, by address, and the names of tenants that they tell.
type Documents struct {
	seen    bounded.Cache[string, document]
	tenants *tenants
}

type document struct {
	contentType string
	body        []byte
}

// New makes Documents that take an eighth of so many bytes, and room for one document at least.
func New(bytes int64) *Documents {
	return &Documents{bounded.New(otter.Options[string, document]{
		MaximumWeight:    uint64(max(bytes/8, AtMost)),
		Weigher:          func(url string, d document) uint32 { return uint32(len(url) + len(d.body) + 256) },
		ExpiryCalculator: otter.ExpiryWriting[string, document](life),
	}), newTenants()}
}

// Close ends the Documents' goroutine.
func (ds *Documents) Close() { ds.seen.StopAllGoroutines() }

// Size is what the documents take of memory, in bytes.
func (ds *Documents) Size() int64 { return int64(ds.seen.WeightedSize()) }

// Asked tells whether a request asks for a discovery document.
func Asked(req *http.Request) bool {
	return req.Method == http.MethodGet &&
		(strings.HasSuffix(req.URL.Path, "/.well-known/openid-configuration") || isCloud(req))
}

// isCloud tells whether a request asks which hosts are one cloud.
func isCloud(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/discovery/instance") }

// Answer answers a request for a document that is remembered; nil: it is not.
func (ds *Documents) Answer(req *http.Request) *http.Response {
	d, ok := ds.seen.GetIfPresent(req.URL.String())
	if !ok {
		return nil
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {d.contentType}}, Body: io.NopCloser(bytes.NewReader(d.body)),
		ContentLength: int64(len(d.body)), Request: req,
	}
}

// Learn takes in what a request for a document was answered with, if it is one.
func (ds *Documents) Learn(req *http.Request, contentType string, body []byte) {
	if ds.tenants.learn(req.URL, body) ||
		isCloud(req) && bytes.Contains(body, []byte(`"tenant_discovery_endpoint"`)) {
		ds.seen.Set(req.URL.String(), document{contentType, body})
	}
}

// Tenants are the names of a token endpoint's tenant, the first being the one that MSAL most likely uses. path is that
// of a request to it.
func (ds *Documents) Tenants(endpoint, path string) []string { return ds.tenants.of(endpoint, path) }
