package apiclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
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
	// It does not bound a Transport that is given, nor one that the application has put into http.DefaultTransport and
	// that is no *http.Transport. Default: 64.
	MaxConnsPerHost int

	// MaxRetries is how often a request is repeated, the answer to a challenge aside; negative: never. Default: 3.
	MaxRetries int

	// MaxRetryDelay is the longest wait before a repetition, but for what is added by chance: an answer that asks for more
	// is the caller's. Default: 5 minutes, the window of Dataverse's service protection limits. Negative: no limit.
	MaxRetryDelay time.Duration

	// RetryDelay is the first wait where the API names none. It doubles with each repetition. Default: 800 ms. Negative:
	// none.
	RetryDelay time.Duration

	// Transport sends the requests. Give one of [NewTransport] to several clients that are to share connections. Default:
	// one of [NewTransport] for this client alone, or http.DefaultTransport where that is no *http.Transport.
	Transport http.RoundTripper
}

// New makes the client of the API at resource, an https URL: its host is where the token goes, and by default its scope
// is the resource with /.default. Make it once and share it: it is safe for concurrent use, and its connections are its
// own. It asks nothing of anybody.
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
		o.Transport = http.DefaultTransport
		if _, plain := o.Transport.(*http.Transport); plain || o.Transport == nil {
			o.Transport = NewTransport(cmp.Or(o.MaxConnsPerHost, 64))
		}
	}
	t := &transport{
		base:       o.Transport,
		cred:       cred,
		origin:     originOf(u),
		token:      policy.TokenRequestOptions{Scopes: o.Scopes, TenantID: o.TenantID, EnableCAE: true},
		maxRetries: cmp.Or(o.MaxRetries, 3),
		maxDelay:   cmp.Or(o.MaxRetryDelay, 5*time.Minute),
		delay:      max(0, cmp.Or(o.RetryDelay, 800*time.Millisecond)),
		random:     rand.Float64,
	}
	if t.maxDelay < 0 {
		t.maxDelay = math.MaxInt64
	}
	return &http.Client{Transport: t}, nil
}

// NewTransport is what a client has whose Options name none: a copy of [http.DefaultTransport] with a bound on
// connections, all of which may stay idle, where the default keeps two for a host and closes the others after each
// burst. Make one where clients are to share it, such as those of one API for each of many tenants.
//
// Where the application has put something else than an *http.Transport into http.DefaultTransport, it is a new one, and
// [New] uses what is there as it is.
func NewTransport(maxConnsPerHost int) *http.Transport {
	t, _ := http.DefaultTransport.(*http.Transport)
	if t != nil {
		t = t.Clone()
	} else {
		t = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
			ForceAttemptHTTP2:     true,
		}
	}
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = maxConnsPerHost, maxConnsPerHost, 0
	t.IdleConnTimeout = 90 * time.Second // Azure's load balancers forget an idle connection after 4 minutes
	// A connection that died unseen carries every request: it is found out by pings.
	if t.HTTP2 == nil {
		t.HTTP2 = &http.HTTP2Config{}
	}
	t.HTTP2.SendPingTimeout = cmp.Or(t.HTTP2.SendPingTimeout, 15*time.Second)
	t.HTTP2.PingTimeout = cmp.Or(t.HTTP2.PingTimeout, 15*time.Second)
	return t
}

// transport is the client's http.RoundTripper. Redirects are followed above it, by http.Client, so that each hop is
// judged by its own host.
type transport struct {
	base            http.RoundTripper
	cred            azcore.TokenCredential
	origin          string
	token           policy.TokenRequestOptions
	maxRetries      int
	maxDelay, delay time.Duration
	random          func() float64         // in [0, 1)
	answered        atomic.Pointer[string] // the latest token that answered a challenge
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := &call{r: r}
	defer c.close()
	for tries := 1; ; tries++ {
		resp, err := t.attempt(c)
		wait, ok := t.again(c, tries, resp, err)
		if !ok {
			if resp != nil {
				resp.Request = r // not the one that was sent: it carries the token
			}
			return resp, err
		}
		drain(resp)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return nil, context.Cause(r.Context())
		}
	}
}

// CloseIdleConnections serves http.Client.CloseIdleConnections.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// send sends the request once, with a token if there is one.
//
// What is sent is a shallow copy, for net/http does more with a request than send it: it repeats by itself what no
// server has begun, for which it needs GetBody, and it reads the trailers, which the caller may set until the body has
// ended.
func (t *transport) send(c *call, token string) (*http.Response, error) {
	body, err := c.body()
	if err != nil {
		c.over = true
		return nil, fmt.Errorf("apiclient: the body cannot be had again: %w", err)
	}
	r := c.r.WithContext(c.r.Context())
	r.Body = body
	if token != "" {
		r.Header = c.r.Header.Clone()
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := t.base.RoundTrip(r)
	if resp == nil && err == nil {
		err = errors.New("apiclient: the transport returned neither an answer nor an error")
	}
	return resp, err
}

// drainAtMost is how much of an answer that nobody reads is read so that its connection can be used again. Errors are
// smaller; what is larger costs its connection or, with HTTP/2, nothing.
const drainAtMost = 16 << 10

func drain(resp *http.Response) {
	if resp != nil && resp.Body != nil {
		_, _ = io.CopyN(io.Discard, resp.Body, drainAtMost)
		_ = resp.Body.Close()
	}
}

// call is one call of RoundTrip through all its attempts.
type call struct {
	r          *http.Request
	sent       bool
	over       bool // it has failed in a way that no repetition mends
	challenged bool // a challenge has been answered
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
