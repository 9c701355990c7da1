package msalredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/removal"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// errNothingRemoved is what MSAL's RemoveAccount returns for an account that its client has not loaded.
var errNothingRemoved = errors.New("msalredis: MSAL removed nothing, because this client has not loaded the account; " +
	"call the client's Account first, or sign out with Cache.RemoveAccount")

// RemoveAccount signs an account out on every instance: it deletes the account's tokens of all clients and under
// all aliases of its cloud, and the on-behalf-of answers given for it, and leaves a tombstone without user data for
// 28 hours, so that a refresh that was under way does not bring them back. A sign-in after it is kept.
// homeAccountID is that of MSAL's Account, in letters of any case.
//
// This process forgets at once, the others when they hear of it, after LocalTTL at most. On-behalf-of tokens that MSAL holds in
// memory go when it is heard, or else when the connection that missed it is made anew; where the gate is not used, others keep
// them. If Redis cannot be reached, an error is returned, and the sign-out is tried again until it is done or the Cache is closed.
// It then ends what began before it was asked for: a sign-in that came meanwhile, on whatever instance, is kept.
//
// MSAL's own RemoveAccount does the same where the client has loaded the account before (Account, then
// RemoveAccount), and else returns an error that names this method.
func (c *Cache) RemoveAccount(ctx context.Context, homeAccountID string) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	if err := checkNames("RemoveAccount: the home account id", homeAccountID); err != nil {
		return err
	}
	return c.removeAccounts(ctx, []string{homeAccountID})
}

// checkNames refuses names that nothing can have: a removal that finds nothing says nothing of it.
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

func (c *Cache) removeAccounts(ctx context.Context, homeAccountIDs []string) error {
	var errs []error
	for _, account := range homeAccountIDs {
		if err := c.remover.Remove(ctx, c.record(account), nil); err != nil {
			errs = append(errs, fmt.Errorf("msalredis: a sign-out has not reached Redis and is tried again until it has: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ForgetAppTokens makes the next call for an app's token ask Entra ID anew, on every instance: a role was granted, a
// token leaked, an API answers 401 without claims. clientID and tenant are those the MSAL client was made with; where clients
// name the tenant differently, by its id or a domain, any of these names stands for all. scopes narrow it to tokens that cover
// them all. It reaches others and fails as [Cache.RemoveAccount] does.
func (c *Cache) ForgetAppTokens(ctx context.Context, clientID, tenant string, scopes ...string) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	if err := errors.Join(checkNames("ForgetAppTokens: the client id", clientID), checkNames("ForgetAppTokens: the tenant", tenant),
		checkNames("ForgetAppTokens: a scope", scopes...)); err != nil {
		return err
	}
	r := c.record(msaldoc.AppKey(clientID, tenant, ""))
	if err := c.remover.Remove(ctx, r, msaldoc.NewScopes(scopes)); err != nil {
		return fmt.Errorf("msalredis: forgetting an app's tokens has not reached Redis and is tried again until it has: %w", err)
	}
	return nil
}

// forget forgets what a removal is of and the store does not have.
func (c *Cache) forget(pid id, removed layout.Tombstone, signedOutHere bool) {
	c.answers.forget(pid)
	c.flights.forget(pid)
	c.onBehalfOf.Remove(pid, removed, signedOutHere)
}

// answerEnded tells whether a removal has ended an answer to a request for scopes.
func (c *Cache) answerEnded(pids []id, scopes msaldoc.Scopes, a *answer) bool {
	for _, pid := range pids {
		if c.store.Removed(pid).Ends(a.asked(), func() string { return layout.HashScopes(scopes) }) {
			return true
		}
	}
	return false
}

// belongs notes that an answer is of partitions, so that it goes when one of them is removed. false: one was removed after it was
// asked for, and it must not be kept.
func (c *Cache) belongs(ctx context.Context, pids []id, rid id, s msaldoc.Scopes, asked redistime.Time, life int64) (bool, error) {
	for _, pid := range pids {
		member := layout.Member{Kind: layout.MemberAnswer, Scopes: removal.HashScopes(s), ID: rid}
		if ok, err := c.store.List(ctx, pid, member, life, asked); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// listExtended notes a partition of an app whose requests carried extra parameters under the app's plain one,
// which is all that ForgetAppTokens can name.
func (c *Cache) listExtended(ctx context.Context, pid id, entries []record.Entry) error {
	for _, e := range entries {
		if e.HomeAccountID != "" || e.ExtCacheKey == "" {
			continue
		}
		plain := layout.PartitionID(msaldoc.AppKey(e.ClientID, e.Realm, ""))
		life := max(e.Expiry*1000-c.clock.Now().Micros()/1000, 1000)
		member := layout.Member{Kind: layout.MemberPartition, Scopes: removal.HashScopes(msaldoc.ScopesOf(e.Target)), ID: pid}
		if _, err := c.store.List(ctx, plain, member, life, layout.MaxStamp); err != nil {
			return err
		}
	}
	return nil
}

// listNames lists an app's partitions of all names of its tenant with one another: MSAL keeps an app's tokens under the
// name that its client was given, ForgetAppTokens names one, and the answer came from Entra ID or from a client of another.
// An error leaves the names to the next answer.
func (c *Cache) listNames(ctx context.Context, r *tokenRequest, a *answer) {
	if r.Kind != tokenreq.App {
		return
	}
	life := max((a.Expires-c.clock.Now().Micros())/1000, 1000)
	member := func(pid id) layout.Member {
		return layout.Member{Kind: layout.MemberPartition, Scopes: removal.HashScopes(r.Scopes), ID: pid}
	}
	for _, pid := range r.pids[1:] {
		_, err := c.store.List(ctx, r.pids[0], member(pid), life, layout.MaxStamp)
		if err == nil {
			_, err = c.store.List(ctx, pid, member(r.pids[0]), life, layout.MaxStamp)
		}
		if err != nil {
			return
		}
	}
}
