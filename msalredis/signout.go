package msalredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// errNothingRemoved is what MSAL's RemoveAccount returns for an account that its client has not loaded.
var errNothingRemoved = errors.New("msalredis: MSAL removed nothing, because this client has not loaded the account; " +
	"call the client's Account first, or sign out with Cache.RemoveAccount")

// RemoveAccount signs an account out on every instance: it deletes the account's tokens of all clients and under
// all aliases of its cloud, and the on-behalf-of answers given for it, and leaves a tombstone without user data for
// 15 minutes, so that a refresh that was under way does not bring them back. A sign-in after it is kept.
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
		if err := c.removePartition(ctx, c.partitions.of(account), nil); err != nil {
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
	p := c.partitions.of(msaldoc.AppKey(clientID, tenant, ""))
	if err := c.removePartition(ctx, p, msaldoc.NewScopes(scopes)); err != nil {
		return fmt.Errorf("msalredis: forgetting an app's tokens has not reached Redis and is tried again until it has: %w", err)
	}
	return nil
}

// removePartition removes a partition, or with only those of its tokens that cover the scopes, and all that was
// derived from it, here and in Redis.
func (c *Cache) removePartition(ctx context.Context, p *partition, only msaldoc.Scopes) error {
	name := removalOf(p.pid, only)
	operation := rand.Text()
	if len(only) == 0 {
		operation = c.changes.self + "." + formatInt(c.signOuts.Add(1))
	}
	asked := c.askedNow(p)
	again := func(ctx context.Context) error {
		how, err := asked.again(ctx)
		if err != nil {
			return err
		}
		return c.pushRemoval(ctx, p, only, operation, how)
	}
	waits := &waiting{size: 256, must: true, of: p, push: again}
	c.pending.keep(name, waits)
	c.forgetHere(p, only)
	done := make(chan error, 1)
	if !c.background(func(life context.Context) { done <- c.pushRemoval(life, p, only, operation, asked.first()) }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		if err == nil {
			c.pending.done(name, waits)
		}
		return err
	case <-ctx.Done():
		return ctx.Err() // it goes on, and the pusher tries it again if it fails
	}
}

// forgetHere removes from this process what a removal removes from Redis.
func (c *Cache) forgetHere(p *partition, only msaldoc.Scopes) {
	p.mu.Lock()
	if len(only) == 0 {
		p.unsaved = nil
	}
	for field, e := range p.unsaved {
		if covers(e.stored, only) {
			delete(p.unsaved, field)
		}
	}
	old := p.snap.Load()
	if old == nil {
		old = &snapshot{}
	}
	// Version 0: what is left is no longer the record at its version, and is read whole the next time.
	s := &snapshot{generation: max(old.generation+1, c.clock.Now().Micros()), entries: old.without(only)}
	p.snap.Store(s)
	if len(only) == 0 {
		p.signedOut.asked, p.signedOut.done = s.generation, 0
	} else {
		if p.forgetting == nil {
			p.forgetting = map[string]forgetting{}
		}
		p.forgetting[scopeHash(only)] = forgetting{only, s.generation}
	}
	p.checked.Store(0)
	p.mu.Unlock()
	c.removals.note(p.pid, s.generation, c.clock.Elapsed(), true)
	c.answers.forget(p.pid)
	c.flights.forget(p.pid)
	if p.user && len(only) == 0 {
		c.assertions.remove(p.pid, s.generation, true)
	}
}

// removalOf names a removal among the writes that wait.
func removalOf(pid id, only msaldoc.Scopes) string {
	return "signout " + string(pid) + " " + scopeHash(only)
}

// signOutOf names the removal of all of a partition.
func signOutOf(pid id) string { return removalOf(pid, nil) }

// without are a snapshot's entries less the tokens that cover scopes; without scopes, none.
func (s *snapshot) without(only msaldoc.Scopes) map[string]stored {
	left := map[string]stored{}
	for field, e := range s.entries {
		if len(only) > 0 && !covers(e, only) {
			left[field] = e
		}
	}
	return left
}

func covers(e stored, only msaldoc.Scopes) bool {
	return e.Section == msaldoc.SectionAccessToken && msaldoc.ScopesOf(e.Target).ContainsAll(only)
}

// pushRemoval carries a removal to Redis, also that of the partitions which are listed with p. how is signout.lua's: a sign-out
// that is tried again leaves a session that began since it was asked for.
func (c *Cache) pushRemoval(ctx context.Context, p *partition, only msaldoc.Scopes, operation, how string) error {
	return c.pushOne(ctx, p, only, operation, how, map[id]bool{p.pid: true})
}

// pushOne is pushRemoval of one partition, and of those listed with it. seen are those that have been visited: names of a
// tenant list each other, and who writes to Redis can make any list.
func (c *Cache) pushOne(ctx context.Context, p *partition, only msaldoc.Scopes, operation, how string, seen map[id]bool) error {
	var generation, left int64
	var members []string
	var err error
	if len(only) == 0 {
		generation, left, members, err = c.runRemoval(ctx, p, nil, operation, how, nil)
	} else {
		generation, members, err = c.removeSome(ctx, p, only, operation)
	}
	if err != nil {
		return err
	}
	k := c.keys
	if p.user && len(only) == 0 && left == 0 {
		if err := c.redis.Do(ctx, k.Accounts(), func(ctx context.Context, client redis.UniversalClient) error {
			return unlessOfAnotherType(client.ZRem(ctx, k.Accounts(), string(p.pid)).Err())
		}); err != nil {
			return err
		}
	}
	var done []any
	for _, m := range members {
		member, ok := layout.ParseMember(m)
		if len(only) > 0 && member.Scopes != scopeHash(only) {
			continue
		}
		done = append(done, m)
		if !ok {
			continue
		}
		switch member.Kind {
		case layout.MemberAnswer:
			if err := c.forgetAnswer(ctx, member.ID); err != nil {
				return err
			}
		case layout.MemberPartition:
			if seen[member.ID] || len(seen) > enlistAtMost {
				continue
			}
			seen[member.ID] = true
			q := c.partitions.named(member.ID, false)
			c.forgetHere(q, only)
			if err := c.pushOne(ctx, q, only, operation, "1", seen); err != nil {
				return err
			}
		}
	}
	if len(done) > 0 {
		// Last, so that a removal that is tried again finds them again.
		if err := c.redis.Do(ctx, k.RIDs(p.pid), func(ctx context.Context, client redis.UniversalClient) error {
			return client.ZRem(ctx, k.RIDs(p.pid), done...).Err()
		}); err != nil {
			return err
		}
	}
	c.changes.tell(ctx, p.pid, generation)
	return nil
}

// removeSome is runRemoval of the tokens that cover scopes, which must be known by field. One that was asked for before may be
// stored after that look, until there is the tombstone: a second look finds it.
func (c *Cache) removeSome(ctx context.Context, p *partition, only msaldoc.Scopes, operation string) (generation int64, members []string, err error) {
	name := scopeHash(only)
	p.mu.Lock()
	asked := p.forgetting[name].since
	p.mu.Unlock()
	fields, err := c.partitions.fields(ctx, p, func(e stored) bool { return covers(e, only) })
	if err != nil {
		return 0, nil, err
	}
	if generation, _, members, err = c.runRemoval(ctx, p, only, operation, "0", fields); err != nil {
		return 0, nil, err
	}
	if fields, err = c.partitions.fields(ctx, p, func(e stored) bool { return covers(e, only) && e.stamp < generation }); err != nil {
		return 0, nil, err
	}
	if len(fields) > 0 {
		if generation, _, members, err = c.runRemoval(ctx, p, only, operation+"+", "0", fields); err != nil {
			return 0, nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forgetting[name].since == asked { // else there is a later one
		delete(p.forgetting, name)
	}
	return generation, members, nil
}

// runRemoval removes from Redis a partition or, by signout.lua's how, some of it. It gives the generation of the tombstone, how many entries of later sessions are left, and what is listed with the partition.
func (c *Cache) runRemoval(ctx context.Context, p *partition, only msaldoc.Scopes, operation, how string, fields []any) (
	generation, left int64, members []string, err error) {
	args := append([]any{formatInt(layout.TombstoneLife.Milliseconds()), operation, how}, fields...)
	k := c.keys
	var list atomic.Pointer[[]string]
	var told, kept atomic.Int64
	err = c.redis.Run(ctx, layout.SignoutScript, []string{k.Tokens(p.pid), k.Tombstone(p.pid), k.RIDs(p.pid), k.Fence(p.pid)}, func(r redisop.Reply) error {
		if len(r.Fields) < 2 {
			return redisop.ErrReply
		}
		listed := r.Fields[2:]
		list.Store(&listed)
		told.Store(r.Number(0))
		kept.Store(max(r.Number(1), 0))
		p.mu.Lock()
		defer p.mu.Unlock()
		s := &snapshot{generation: r.Number(0)}
		if len(only) == 0 && p.signedOut.asked > 0 {
			p.signedOut.done = s.generation
		}
		if old := p.snap.Load(); len(only) == 0 && old != nil && old.version > 0 && old.generation >= s.generation {
			return nil // it was long on its way, and what is known is of a session since
		}
		if old := p.snap.Load(); old != nil && len(only) > 0 {
			s.entries = old.without(only)
		}
		if len(only) == 0 && len(p.unsaved) > 0 {
			// A sign-in that came while this waited, and waits behind it.
			s.entries = map[string]stored{}
			p.overlay(s)
		}
		p.snap.Store(s)
		p.asOf = r.Time.Micros()
		p.checked.Store(0)
		return nil
	}, args...)
	if err != nil {
		return 0, 0, nil, err
	}
	return told.Load(), kept.Load(), *list.Load(), nil
}

// forgetAnswer removes what is kept of a request identity.
func (c *Cache) forgetAnswer(ctx context.Context, rid id) error {
	k := c.keys
	return c.redis.Run(ctx, layout.ForgetScript, []string{k.Response(rid), k.Tombstone(rid), k.Pause(rid), k.Fence(rid)},
		func(redisop.Reply) error { return nil }, formatInt(layout.TombstoneLife.Milliseconds()))
}

// scopeHash is how the list of a partition's identities tells their scopes apart.
func scopeHash(s msaldoc.Scopes) string {
	return string(layout.HashID("scopes", s.Resource()...))[:12]
}

// belongs notes that an answer is of partitions, so that it goes when one of them is removed. false: one was removed after
// started, and the answer must not be kept.
func (c *Cache) belongs(ctx context.Context, pids []id, rid id, s msaldoc.Scopes, started, life int64) (bool, error) {
	for _, pid := range pids {
		if ok, err := c.enlist(ctx, pid, layout.Member{Kind: layout.MemberAnswer, Scopes: scopeHash(s), ID: rid}, life, started); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// enlistExtended notes a partition of an app whose requests carried extra parameters under the app's plain one,
// which is all that ForgetAppTokens can name.
func (c *Cache) enlistExtended(ctx context.Context, b batch) error {
	for _, e := range b.entries {
		if e.HomeAccountID != "" || e.ExtCacheKey == "" {
			continue
		}
		base := layout.PartitionID(msaldoc.AppKey(e.ClientID, e.Realm, ""))
		life := max(e.expiry*1000-c.clock.Now().Micros()/1000, 1000)
		if _, err := c.enlist(ctx, base, layout.Member{Kind: layout.MemberPartition, Scopes: scopeHash(msaldoc.ScopesOf(e.Target)), ID: b.p.pid}, life, layout.MaxStamp); err != nil {
			return err
		}
	}
	return nil
}

// enlistNames lists an app's partitions of all names of its tenant with one another: MSAL keeps an app's tokens under the
// name that its client was given, ForgetAppTokens names one, and the answer came from Entra ID or from a client of another.
// An error leaves the names to the next answer.
func (c *Cache) enlistNames(ctx context.Context, r *tokenRequest, a *answer) {
	if r.Kind != tokenreq.App {
		return
	}
	life := max((a.Expires-c.clock.Now().Micros())/1000, 1000)
	member := func(pid id) layout.Member {
		return layout.Member{Kind: layout.MemberPartition, Scopes: scopeHash(r.Scopes), ID: pid}
	}
	for _, pid := range r.pids[1:] {
		_, err := c.enlist(ctx, r.pids[0], member(pid), life, layout.MaxStamp)
		if err == nil {
			_, err = c.enlist(ctx, pid, member(r.pids[0]), life, layout.MaxStamp)
		}
		if err != nil {
			return
		}
	}
}

// enlistAtMost bounds what is listed for one partition: scopes times assertions.
const enlistAtMost = 4096

func (c *Cache) enlist(ctx context.Context, pid id, member layout.Member, life, started int64) (bool, error) {
	var ok atomic.Bool
	err := c.redis.Run(ctx, layout.EnlistScript, []string{c.keys.RIDs(pid), c.keys.Tombstone(pid)}, func(r redisop.Reply) error {
		ok.Store(r.Number(0) == 1)
		return nil
	}, member.String(), formatInt(life), formatInt(enlistAtMost), formatInt(started))
	return ok.Load(), err
}
