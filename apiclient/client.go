package apiclient

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Options are the settings of a client. Zero fields take the default that ends their comment.
type Options struct {
	// Scopes are those of the token. Default: the resource with /.default.
	Scopes []string

	// TenantID is the tenant whose tokens are asked for, where the credential serves several. Default: the credential's.
	TenantID string

	// MaxConnsPerHost bounds the connections to a host, in use and idle; more requests wait for one. Behind Azure's load
	// balancers each takes a SNAT port, of which an App Service instance can count on 128
	// (https://learn.microsoft.com/azure/app-service/troubleshoot-intermittent-outbound-connection-errors).
	// It does not bound a Transport that is given. Default: 64.
	MaxConnsPerHost int

	// MaxRetries is how often a request is repeated, the answer to a challenge aside; negative: never. Default: 3.
	MaxRetries int

	// MaxRetryDelay is the longest wait before a repetition: an answer whose Retry-After asks for more is the caller's.
	// Default: 5 minutes, the window of Dataverse's service protection limits.
	MaxRetryDelay time.Duration

	// RetryDelay is the first wait where the API names none. It doubles with each repetition. Default: 800 ms.
	RetryDelay time.Duration

	// Transport sends the requests. Give one of [NewTransport] to several clients that are to share connections. Default: one
	// of the client's own.
	Transport http.RoundTripper
}

// New makes the client of the API at resource, an https URL: its host is where the token goes, and by default its scope is
// the resource with /.default. Make it once and share it: it is safe for concurrent use, and its connections are its own.
// It asks nothing of anybody.
//
// The error of a request that got no token wraps the credential's.
func New(resource string, cred azcore.TokenCredential, opts *Options) (*http.Client, error) {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	u, err := url.Parse(resource)
	switch {
	case err != nil:
		return nil, fmt.Errorf("apiclient: the resource is not a URL: %w", err)
	case u.Scheme != "https" || u.Host == "":
		return nil, errors.New("apiclient: the resource must be an https URL: a token is not sent without TLS")
	case cred == nil:
		return nil, errors.New("apiclient: New needs a credential")
	case o.MaxConnsPerHost < 0:
		return nil, errors.New("apiclient: Options.MaxConnsPerHost must not be negative")
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{strings.TrimSuffix(resource, "/") + "/.default"}
	}
	if o.Transport == nil {
		o.Transport = NewTransport(cmp.Or(o.MaxConnsPerHost, 64))
	}
	auth := &authorizer{
		cred:   cred,
		origin: originOf(u),
		token:  policy.TokenRequestOptions{Scopes: o.Scopes, TenantID: o.TenantID, EnableCAE: true},
	}
	t := &transport{
		base: o.Transport,
		retry: policy.RetryOptions{
			MaxRetries:    int32(o.MaxRetries),
			RetryDelay:    cmp.Or(o.RetryDelay, 800*time.Millisecond),
			MaxRetryDelay: cmp.Or(o.MaxRetryDelay, 5*time.Minute),
		},
	}
	t.pipeline = runtime.NewPipeline("apiclient", "v1", runtime.PipelineOptions{
		PerRetry: []policy.Policy{auth, sender{}},
	}, &policy.ClientOptions{
		Telemetry: policy.TelemetryOptions{Disabled: true}, // the User-Agent is the caller's
		Transport: roundTripper{o.Transport},
	})
	return &http.Client{Transport: t}, nil
}

// NewTransport is what a client has whose Options name none: net/http's default transport with a bound on connections, all
// of which may stay idle, where the default keeps two for a host and closes the others after each burst. Make one where
// clients are to share it, such as those of one API for each of many tenants.
func NewTransport(maxConnsPerHost int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxConnsPerHost:       maxConnsPerHost,
		MaxIdleConnsPerHost:   maxConnsPerHost,
		IdleConnTimeout:       90 * time.Second, // Azure's load balancers forget an idle connection after 4 minutes
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
		// A connection that died unseen carries every request: it is found out by pings.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// transport is the client's http.RoundTripper. Redirects are followed above it, by http.Client, so that each hop is
// judged by its own host.
type transport struct {
	pipeline runtime.Pipeline
	retry    policy.RetryOptions
	base     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := &call{r: r, delay: t.retry.RetryDelay}
	retry := t.retry
	retry.ShouldRetry = c.shouldRetry
	// The body stays out of the pipeline, which would read it into memory: sender puts it into each attempt.
	raw := r.Clone(policy.WithRetryOptions(r.Context(), retry))
	raw.Body, raw.GetBody = nil, nil
	req, err := runtime.NewRequestFromRequest(raw)
	if err != nil {
		c.close()
		return nil, err
	}
	req.SetOperationValue(c)
	runtime.SkipBodyDownload(req)
	resp, err := t.pipeline.Do(req)
	if err != nil {
		c.close()
		return nil, err
	}
	resp.Request = r // not the one that was sent: it carries the token
	return resp, nil
}

// CloseIdleConnections serves http.Client.CloseIdleConnections.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// roundTripper is a policy.Transporter. An http.Client would be one too, but would follow redirects with the token.
type roundTripper struct{ http.RoundTripper }

func (t roundTripper) Do(r *http.Request) (*http.Response, error) { return t.RoundTrip(r) }

// sender is the last policy: it gives each attempt a body of its own.
type sender struct{}

func (sender) Do(req *policy.Request) (*http.Response, error) {
	c := callOf(req)
	body, err := c.body()
	if err != nil {
		return nil, final{err}
	}
	req.Raw().Body = body
	return req.Next()
}

// call is one call of RoundTrip through all its attempts.
type call struct {
	r     *http.Request
	sent  bool
	tries int
	delay time.Duration // Options.RetryDelay
}

func callOf(req *policy.Request) *call {
	var c *call
	req.OperationValue(&c)
	return c
}

func (c *call) empty() bool { return c.r.Body == nil || c.r.Body == http.NoBody }

// repeatable tells whether the request can be sent again.
func (c *call) repeatable() bool { return c.empty() || c.r.GetBody != nil }

func (c *call) body() (io.ReadCloser, error) {
	if c.empty() || !c.sent {
		c.sent = true
		return c.r.Body, nil
	}
	return c.r.GetBody()
}

// close closes a body that no attempt took, as a RoundTripper must.
func (c *call) close() {
	if !c.sent && c.r.Body != nil {
		_ = c.r.Body.Close()
	}
}

// final is an error that azcore does not try again.
type final struct{ error }

func (final) NonRetriable()   {}
func (f final) Unwrap() error { return f.error }
