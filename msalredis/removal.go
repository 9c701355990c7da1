package msalredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/msal-redis/msal-redis-go/internal/redisop"
)

// RemoveAccount signs an account out on every instance: it deletes the account's tokens of all clients and under
// all aliases of its cloud, and the on-behalf-of answers given for it, and leaves a tombstone without user data for
// 28 hours, so that a refresh that was under way does not bring them back. A sign-in after it is kept.
// homeAccountID is that of MSAL's Account, in letters of any case.
//
// This process forgets at once, the others when they hear of it, after LocalTTL at most. On-behalf-of tokens that MSAL
// holds in memory go when an instance hears of the sign-out or, where the message was lost with a connection, when that
// connection is made anew; where the gate is not used, other instances keep them.
//
// If Redis cannot be reached, an error is returned, and the sign-out is tried again until it is done or the Cache is
// closed. It then ends what began before it was asked for: a sign-in that came meanwhile, on any instance, is kept.
//
// MSAL's own RemoveAccount does the same if the client has loaded the account before (Account, then RemoveAccount).
// Otherwise it returns an error that names this method.
func (c *Cache) RemoveAccount(ctx context.Context, homeAccountID string) error {
	if err := redisop.Usable(c.parts.life, ctx); err != nil {
		return err
	}
	if err := checkNames("RemoveAccount: the home account id", homeAccountID); err != nil {
		return err
	}
	return c.parts.remover.SignOut(ctx, []string{homeAccountID})
}

// checkNames refuses names that nothing can have: a removal that finds nothing is no error, so nobody would notice.
func checkNames(what string, names ...string) error {
	for _, name := range names {
		if name == "" {
			return fmt.Errorf("msalredis: %s is empty", what)
		}
		if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
			return fmt.Errorf("msalredis: %s has white space or a character that cannot be seen", what)
		}
	}
	return nil
}

// ForgetAppTokens makes the next call for an app's token ask Entra ID anew, on every instance: a role was granted, a
// token leaked, an API answers 401 without claims. clientID and tenant are those the MSAL client was made with; where
// clients name the tenant differently, by its id or a domain, any of these names stands for all. scopes narrow it to
// tokens that cover them all. It reaches others and fails as [Cache.RemoveAccount] does.
func (c *Cache) ForgetAppTokens(ctx context.Context, clientID, tenant string, scopes ...string) error {
	if err := redisop.Usable(c.parts.life, ctx); err != nil {
		return err
	}
	if err := errors.Join(checkNames("ForgetAppTokens: the client id", clientID),
		checkNames("ForgetAppTokens: the tenant", tenant), checkNames("ForgetAppTokens: a scope", scopes...)); err != nil {
		return err
	}
	return c.parts.remover.ForgetApp(ctx, clientID, tenant, scopes)
}
