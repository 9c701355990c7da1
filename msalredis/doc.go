// Package msalredis shares the tokens of MSAL Go among all instances of a service through Redis, sealed, and lets
// exactly one instance refresh each.
//
// It has two halves, and a service plugs both into its MSAL client:
//
//	tokens, err := msalredis.New(rdb, sealer, nil)
//	app, err := confidential.New(authority, clientID, cred,
//		confidential.WithCache(tokens),                    // share tokens
//		confidential.WithHTTPClient(tokens.HTTPClient()))  // one refresh
//
// The accessor ([Cache.Replace], [Cache.Export]) gives MSAL what the fleet has and stores what MSAL brings, entry by
// entry, so that writes of different tokens commute and a newer token is never replaced by an older one.
//
// The refresh gate ([Cache.Transport], [Cache.HTTPClient]) stands before the token endpoint, the one place that sees a
// request begin and end. Callers of one identity get one answer: from what the fleet has, or from the one instance that
// holds the lease. It serves every flow, those included that MSAL cannot persist through an accessor (on-behalf-of),
// and Azure SDK credentials, as their transport.
//
// Where to read: cache.go for the whole, accessor.go and gate.go for the halves, leader.go how one instance brings a
// token for all. internal/record is what a process knows of an account or an app, internal/tokenstore who holds that,
// internal/removal how tokens go away for good. internal/redisop is how Redis is asked, internal/layout what stands
// there, and the scripts that change it.
package msalredis
