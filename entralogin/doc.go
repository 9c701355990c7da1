// Package entralogin logs in to Azure Managed Redis (and Azure Cache for Redis) with Entra ID instead of a password.
//
//	cred, err := azidentity.NewManagedIdentityCredential(nil)
//	if err != nil {
//		return err
//	}
//	login, err := entralogin.New(cred, nil)
//	if err != nil {
//		return err
//	}
//	rdb, err := connect.Open("rediss://name.region.redis.azure.net:10000", &connect.Options{Credentials: login})
//
// The password is an access token for https://redis.azure.com, the user name the object id of its principal. Redis cuts
// a connection whose token has expired, so a new token is asked for in time and each connection logs in again with it.
//
// # The credential
//
// It must keep its tokens in memory, as azidentity's credentials do unless told otherwise, and ask Entra ID by an HTTP
// client of its own. It must not use the accessor or the refresh gate of a msalredis.Cache: the token that opens Redis
// would be looked for in Redis, and wait for itself. A Cache knows such a request by its context and refuses it with an
// error that says so.
//
// go-redis waits for a login without the context of the command, so while there is no token a new connection takes up
// to [Wait] from the start of the request on, and then fails with [ErrNoToken]; connect.Dial and a msalredis.Cache keep
// to their own time all the same. After a failure connections fail at once, until it is time to ask again.
//
// # When a token is renewed
//
// The first try comes when the credential says so (azcore.AccessToken.RefreshOn), else five minutes before the expiry,
// before which MSAL answers with the same token. It comes up to half a minute later than that, so that a fleet does not
// ask at once. The next try comes after a third of the time that the token has left, give or take a tenth, but at least
// a second later, if
//
//   - a try failed (then at most 30 s later),
//   - a try brought the same token,
//   - or the token had fewer than five minutes left from the start.
//
// A token that works is kept to its end, however many tries fail. The tries go on while there are connections: after
// the token's end they are 1 s apart at first, and 30 s in the end. Without connections nothing runs, so there is
// nothing to close.
//
// A connection logs in again when it is next put back into go-redis's pool. If it lies idle for the five minutes from
// the renewal to the old token's end, Redis cuts it, and go-redis makes another before a command meets it.
//
// Subscriptions (Redis's, not ours) are not logged in again, because go-redis v9.23 does that in its pool, where they
// are not: Redis ends them with their token, and go-redis opens them anew with the current one. What a msalredis.Cache
// may miss in that moment it finds within Options.LocalTTL.
//
// # Why not go-redis-entraid
//
// github.com/redis/go-redis-entraid (v1.0.6) is Redis's own and does the same. Its renewal goroutine ends for good
// after three failed tries in a row, some seconds, and is never started again while connections live; Subscribe leaves
// its mutex locked when a token cannot be had, and every later connection hangs; a service cannot start while Entra ID
// is away; and it takes no azcore.TokenCredential, but makes credentials itself. A cache that promises to go on while
// Entra ID is away cannot stand on that.
package entralogin
