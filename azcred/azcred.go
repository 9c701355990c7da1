package azcred

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

// Options are what a Credential may be told. The zero value is ready to use.
type Options struct {
	// AdditionallyAllowedTenants are the tenants, beside that of the authority, for which tokens may be asked: an API's
	// answer can name a tenant, and must not be able to choose any. "*" allows all. One Credential serves thousands of
	// tenants. Default: none.
	AdditionallyAllowedTenants []string

	// CAE is another cache for tokens of requests with EnableCAE. One is enough: a Cache keeps tokens with the capability
	// and without apart. With another, RemoveAccount and ForgetAppTokens are to be called on both. Default: that of New.
	CAE *msalredis.Cache

	// Transport takes token requests from the gate to Entra ID, in place of the transport of a Cache's HTTPClient: for a
	// proxy or a CA of one's own, or an emulator. Default: that one.
	Transport http.RoundTripper

	// MSAL are further options of both MSAL clients, such as confidential.WithX5C and WithAzureRegion. They come last, so
	// WithHTTPClient replaces the gate. Default: none.
	MSAL []confidential.Option
}

// Credential is an azcore.TokenCredential for an app. It is safe for concurrent use, and callers of one token wait for
// nothing but that token.
type Credential struct {
	// Functions, because fmt, which prints what pointers lead to, cannot look into them.
	client  func(cae bool, key string) (confidential.Client, error)
	key     func(tenant string) string // what a client is chosen by
	acquire func(context.Context, confidential.Client, policy.TokenRequestOptions) (confidential.AuthResult, error)

	tenant  string
	allowed []string
}

// clients is how many MSAL clients at most serve a Credential's tenants and users: more than a few dozen of those are
// slow on one client (package clientpool). One tenant's app tokens have one.
const clients = 32

var _ azcore.TokenCredential = (*Credential)(nil)

// New makes the credential of an app. authority, clientID and cred are those of confidential.New. It asks neither Redis
// nor Entra ID anything.
func New(
	authority, clientID string, cred confidential.Credential, tokens *msalredis.Cache, opts *Options,
) (*Credential, error) {
	switch {
	case tokens == nil:
		return nil, errors.New("azcred: New needs a Cache")
	case clientID == "":
		return nil, errors.New("azcred: the client id is empty")
	}
	o := Options{}
	if opts != nil {
		o = *opts
	}
	u, err := url.Parse(authority)
	if err != nil {
		return nil, fmt.Errorf("azcred: the authority is not a URL: %w", err)
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if tenant == "" {
		return nil, errors.New("azcred: the authority names no tenant; it looks like " +
			"https://login.microsoftonline.com/TENANT")
	}
	shards := func(tokens *msalredis.Cache, capabilities ...string) (*clientpool.Shards[confidential.Client], error) {
		return clientpool.NewShards(clients, func() (confidential.Client, error) {
			return confidential.New(authority, clientID, cred, slices.Concat([]confidential.Option{
				confidential.WithCache(tokens),
				confidential.WithHTTPClient(o.gate(tokens)),
				confidential.WithClientCapabilities(capabilities),
			}, o.MSAL)...)
		})
	}
	plain, err := shards(tokens)
	if err != nil {
		return nil, fmt.Errorf("azcred: %w", err)
	}
	cae, err := shards(cmp.Or(o.CAE, tokens), "CP1")
	if err != nil {
		return nil, fmt.Errorf("azcred: %w", err)
	}
	c := &Credential{
		client: func(withCAE bool, key string) (confidential.Client, error) {
			if withCAE {
				return cae.Get(key)
			}
			return plain.Get(key)
		},
		key: strings.ToLower, acquire: forApp,
		tenant: tenant, allowed: slices.Clone(o.AdditionallyAllowedTenants),
	}
	if _, err := c.client(true, c.key(tenant)); err != nil { // what MSAL has to say of its arguments is said now
		return nil, fmt.Errorf("azcred: %w", err)
	}
	return c, nil
}

func (o *Options) gate(tokens *msalredis.Cache) *http.Client {
	if o.Transport == nil {
		return tokens.HTTPClient()
	}
	return &http.Client{Transport: tokens.Transport(o.Transport)}
}

// OnBehalfOf is the credential of a user whose access token, assertion, an API has received: its tokens are the API's
// for that user. Make one for each request; it costs nothing. Tokens are shared by assertion, through the gate.
func (c *Credential) OnBehalfOf(assertion string) *Credential {
	user := *c
	user.key = func(string) string { return cmp.Or(assertion, "none") }
	user.acquire = func(
		ctx context.Context, app confidential.Client, o policy.TokenRequestOptions,
	) (confidential.AuthResult, error) {
		return app.AcquireTokenOnBehalfOf(ctx, assertion, o.Scopes,
			confidential.WithTenantID(o.TenantID), confidential.WithClaims(o.Claims))
	}
	return &user
}

func forApp(
	ctx context.Context, app confidential.Client, o policy.TokenRequestOptions,
) (confidential.AuthResult, error) {
	return app.AcquireTokenByCredential(ctx, o.Scopes, confidential.WithTenantID(o.TenantID),
		confidential.WithClaims(o.Claims))
}

// GetToken implements azcore.TokenCredential. Claims are those of an API's challenge: nothing older than this call
// answers it. An error is ctx's, or tells the Azure SDK not to try again: the gate has done what can be done.
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) == 0 {
		return azcore.AccessToken{}, final{errors.New("azcred: GetToken needs at least one scope")}
	}
	var err error
	if o.TenantID, err = c.tenantOf(o.TenantID); err != nil {
		return azcore.AccessToken{}, final{err}
	}
	client, err := c.client(o.EnableCAE, c.key(o.TenantID))
	if err != nil {
		return azcore.AccessToken{}, final{fmt.Errorf("azcred: %w", err)}
	}
	r, err := c.acquire(ctx, client, o)
	switch {
	case err == nil:
		return azcore.AccessToken{Token: r.AccessToken, ExpiresOn: r.ExpiresOn.UTC(), RefreshOn: r.Metadata.RefreshOn.UTC()},
			nil
	case ctx.Err() != nil:
		return azcore.AccessToken{}, ctx.Err()
	}
	return azcore.AccessToken{}, final{fmt.Errorf("azcred: %w", err)}
}

// tenantOf is the tenant to ask, by azidentity's rules and those of a URL.
func (c *Credential) tenantOf(asked string) (string, error) {
	own := strings.EqualFold(asked, c.tenant)
	switch {
	case asked == "" || own:
		return c.tenant, nil
	case !isTenant(asked):
		return "", errors.New("azcred: a token was asked for what is no tenant: neither an id nor a domain")
	case slices.Contains(c.allowed, "*") || slices.ContainsFunc(c.allowed, func(t string) bool {
		return strings.EqualFold(t, asked)
	}):
		return asked, nil
	case len(c.allowed) == 0 && c.tenant == "organizations":
		return asked, nil // the credential has no tenant of its own to compare with
	}
	return "", errors.New("azcred: a token for another tenant was asked; Options.AdditionallyAllowedTenants does not " +
		"have it")
}

// isTenant tells an id or a domain from what would lead elsewhere as a part of the authority's URL.
func isTenant(s string) bool {
	for _, r := range s {
		if !alphanumeric(r) && r != '.' && r != '-' {
			return false
		}
	}
	return s != "" && alphanumeric(rune(s[0])) // which ".." is not, though azidentity takes it
}

func alphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// final is an error that azcore does not try again.
type final struct{ error }

func (final) NonRetriable()   {}
func (f final) Unwrap() error { return f.error }
