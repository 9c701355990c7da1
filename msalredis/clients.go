package msalredis

import (
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

// NewConfidential is [confidential.New] with both halves of the Cache: it shares tokens (WithCache) and lets one
// instance refresh each (WithHTTPClient, with [Cache.HTTPClient]). Options come after those two. One that has a
// transport of its own for Entra ID puts the gate before it:
//
//	confidential.WithHTTPClient(&http.Client{Transport: tokens.Transport(base)})
//
// Its errors are those of confidential.New.
func (c *Cache) NewConfidential(
	authority, clientID string, cred confidential.Credential, options ...confidential.Option,
) (confidential.Client, error) {
	both := []confidential.Option{confidential.WithCache(c), confidential.WithHTTPClient(c.HTTPClient())}
	return confidential.New(authority, clientID, cred, append(both, options...)...)
}

// NewPublic is [public.New] with both halves of the Cache, as [Cache.NewConfidential] is for confidential clients. Its
// errors are those of public.New.
func (c *Cache) NewPublic(clientID string, options ...public.Option) (public.Client, error) {
	both := []public.Option{public.WithCache(c), public.WithHTTPClient(c.HTTPClient())}
	return public.New(clientID, append(both, options...)...)
}
