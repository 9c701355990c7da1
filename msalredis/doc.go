// Package msalredis shares the tokens of MSAL Go among all instances of a service through Redis, sealed, and lets
// exactly one instance refresh each token.
//
//	tokens, err := msalredis.New(rdb, sealer, nil)
//	app, err := tokens.NewConfidential(authority, clientID, cred)
//	result, err := app.AcquireTokenByCredential(ctx, scopes)
//
// The Cache has two halves. NewConfidential and NewPublic give a client both, which by hand are two options:
//
//	confidential.WithCache(tokens),                  // share tokens
//	confidential.WithHTTPClient(tokens.HTTPClient()) // one refresh
//
// The accessor ([Cache.Replace], [Cache.Export]) gives MSAL what the fleet has and stores what MSAL brings, entry by
// entry, so that writes of different tokens commute and a newer token is never replaced by an older one.
//
// The refresh gate ([Cache.Transport], [Cache.HTTPClient]) stands before the token endpoint, the one place that sees a
// request begin and end. Callers of one identity get one answer: from what the fleet has, or from the one instance that
// holds the lease. It serves every flow, those included that MSAL cannot persist through an accessor (on-behalf-of),
// and Azure SDK credentials, as their transport.
//
// Packages beside this one: connect makes the Redis client from a URL, entralogin logs it in with Entra ID, serializer
// has the keys that seal what is stored. msalredis/clientpool is for hundreds of tenants or users. azcred gives the
// tokens to the Azure SDK, tokensource to golang.org/x/oauth2, and apiclient is an HTTP client of one API. entratest is
// an Entra ID for tests. lock has the lease, for other uses.
//
// Where to read for a change of the library: parts.go puts the parts together. The halves are internal/accessor and
// internal/gate. What a process knows of an account or an app is internal/record's, internal/tokenstore holds it, and
// internal/removal removes it on every instance. How Redis is asked is in internal/redisop; what is stored there, and
// the scripts that change it, in internal/layout.
package msalredis
