package msalredis

import (
	"context"
	"net/http"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
)

var _ cache.ExportReplace = (*Cache)(nil)

// Replace gives MSAL's manager what is known of a partition. MSAL calls it before it reads its cache.
//
// While the manager holds the partition, and that knowledge is younger than LocalTTL, it returns at once. Otherwise it
// asks Redis, for an operation's time at most (see [Options].OpTimeout). It never waits for a lease: MSAL holds a mutex
// of its own around this call, which the lease's holder may need to store its token.
//
// It returns ctx's error, or [ErrClosed], or an error that says that entralogin's credential uses this Cache. It
// returns Redis's error only with FailClosed, or where MSAL asks for all accounts to list them and not all are known.
// It is safe for concurrent use.
func (c *Cache) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	return c.parts.accessor.Replace(ctx, u, hints)
}

// Export stores what MSAL has changed since Replace. MSAL calls it after a token has arrived, and after
// RemoveAccount.
//
// It writes only what changed, and what it writes never replaces something newer. It waits for Redis for an
// operation's time at most (see [Options].OpTimeout). If Redis does not take the write, it is kept and made later, and
// Export returns nil; with FailClosed it is made later all the same, and Redis's error is returned. Other errors are
// ctx's, [ErrClosed], that of MSAL's RemoveAccount, which [Cache.RemoveAccount] explains, and one that says that MSAL's
// document could not be marshalled or read. It is safe for concurrent use.
func (c *Cache) Export(ctx context.Context, m cache.Marshaler, hints cache.ExportHints) error {
	return c.parts.accessor.Export(ctx, m, hints)
}

// Transport is the refresh gate: an [http.RoundTripper] in front of Entra ID's token endpoint that lets one
// instance of the fleet ask for a token and gives its answer to all. base sends the requests; nil is a pooled
// transport of the gate's own, a copy of [http.DefaultTransport], or that itself where it is no *http.Transport.
//
// Everything but a token request that can be repeated passes untouched: client credentials with a secret or an
// assertion, on-behalf-of, refresh_token and user_fic can. Answers to sign-ins are seen on their way, and a
// refresh_in is added to those that lack it. Discovery documents are remembered for a day, so that a new MSAL client
// costs no request.
//
// MSAL reads answers whole, so their size is bounded: an answer to a token request of more than 1 MiB, or a discovery
// document of more than 256 KiB, is an error. The gate's own transport takes 64 KiB of headers.
//
// Callers of one identity wait for the same answer, each until its own context ends, and for 75 seconds at most. A
// refresh that has begun goes on when all of them have left. So base gets a context with neither a caller's values nor
// a caller's deadline; it ends 30 seconds after a request to Entra ID began. Entra ID's errors are passed on as they
// are, and the Azure SDK does not retry those of the gate's own making. While Redis is away, there is one request per
// process.
func (c *Cache) Transport(base http.RoundTripper) http.RoundTripper {
	if isNil(base) {
		t, ok := http.DefaultTransport.(*http.Transport)
		switch {
		case isNil(http.DefaultTransport):
			t = &http.Transport{Proxy: http.ProxyFromEnvironment}
		case ok:
			t = t.Clone()
		default: // the application has put its own there, as for tracing
			return c.parts.gate.Transport(http.DefaultTransport)
		}
		t.MaxIdleConnsPerHost = 16          // http.DefaultTransport keeps 2, and a burst would dial anew each time
		t.MaxResponseHeaderBytes = 64 << 10 // Entra ID's have 2 KB; net/http's default is 10 MB
		base = t
	}
	return c.parts.gate.Transport(base)
}

// HTTPClient is an HTTP client whose transport is the gate, made by the first call, with [http.DefaultTransport] as it
// is then: give it to every MSAL client by WithHTTPClient, as [Cache.NewConfidential] does, and to Azure SDK
// credentials as azcore.ClientOptions.Transport. Package azcred names two credentials that go past it.
func (c *Cache) HTTPClient() *http.Client { return c.http() }
