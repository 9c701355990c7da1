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
//	rdb, err := connect.Dial(ctx, "rediss://name.region.redis.azure.net:10000", &connect.Options{Credentials: login})
//
// The password is an access token for https://redis.azure.com, the user name the object id of its principal. Redis
// cuts a connection whose token has expired, so a new token is asked for in time and each connection logs in again with it.
//
// # The credential
//
// It must keep its tokens in memory, as azidentity's credentials do unless told otherwise, and ask Entra ID by an HTTP
// client of its own. It must not use the accessor or the refresh gate of a msalredis.Cache on this same Redis: the token that
// opens Redis would be looked for in Redis, and wait for itself. Nothing can tell that from outside, so a connection that waits for
// a token gives up after [Wait], and its error names this case.
//
// # When a token is renewed
//
// When the credential says so (azcore.AccessToken.RefreshOn), else five minutes before its expiry: before that MSAL answers with
// the same token. Where fewer than five minutes are left, or a try failed or brought the same token, a third of what is left
// later, give or take a tenth, at least a second and at most 30 s after a failure. A token that works is kept to its end
// however many tries fail, and the tries never end while there are connections. Without connections nothing runs: there is
// nothing to close.
//
// Subscriptions (Redis's, not ours) are not logged in again, because go-redis v9.23 does that between two commands of a connection: Redis
// ends them with their token, and go-redis opens them anew with the current one. What a msalredis.Cache may miss in that moment
// it finds within Options.LocalTTL.
//
// # Why not go-redis-entraid
//
// github.com/redis/go-redis-entraid (v1.0.6, read in full) is Redis's own and does the same. Its renewal goroutine ends for good after three
// failed tries in a row, some seconds, and is never started again while connections live; Subscribe leaves its mutex locked when a
// token cannot be had, and every later connection hangs; a service cannot start while Entra ID is away; and it takes no
// azcore.TokenCredential, but makes credentials itself. A cache that promises to go on while Entra ID is away cannot
// stand on that.
package entralogin
