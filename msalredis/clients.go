package msalredis

import (
	"errors"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

var errNoClientID = errors.New("msalredis: the client id is empty")

// NewConfidential is [confidential.New] with both halves of the Cache: it shares tokens (WithCache) and lets one
// instance refresh each (WithHTTPClient, with [Cache.HTTPClient]). Options come after those two. One that has a
// transport of its own for Entra ID puts the gate before it:
//
//	confidential.WithHTTPClient(&http.Client{Transport: tokens.Transport(base)})
//
// Its errors are those of confidential.New, and one for an empty client id, which MSAL would send to Entra ID.
func (c *Cache) NewConfidential(
	authority, clientID string, cred confidential.Credential, options ...confidential.Option,
) (confidential.Client, error) {
	if clientID == "" {
		return confidential.Client{}, errNoClientID
	}
	both := []confidential.Option{confidential.WithCache(c), confidential.WithHTTPClient(c.HTTPClient())}
	return confidential.New(authority, clientID, cred, append(both, options...)...)
}

// NewPublic is [public.New] with both halves of the Cache, as [Cache.NewConfidential] is for confidential clients. Its
// errors are those of public.New, and one for a client id that is empty.
func (c *Cache) NewPublic(clientID string, options ...public.Option) (public.Client, error) {
	if clientID == "" {
		return public.Client{}, errNoClientID
	}
	both := []public.Option{public.WithCache(c), public.WithHTTPClient(c.HTTPClient())}
	return public.New(clientID, append(both, options...)...)
}
