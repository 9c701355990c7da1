package msalredis

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// MSAL asks for key "" where it means "all accounts": Accounts, RemoveAccount, and everything that a public client
// writes, although it reads silently under the account's key. So what comes under "" is stored in the accounts'
// own partitions, and a list of those makes it whole again.

// accountsAtMost bounds the list. MSAL unmarshals and marshals all of it under its write lock: 100,000 accounts cost
// 1.4 s each.
const accountsAtMost = 1024

// enlistAccount puts a partition on the list of accounts.
func (c *Cache) enlistAccount(ctx context.Context, b batch) error {
	c.lists.Store(true)
	return c.listAccount(ctx, b, "")
}

// prolongAccount keeps an account on the list whose refresh token was just stored. Its refreshes come under its own key,
// which does not tell whether it is listed; it is not where this process has never asked for the list, as none with confidential
// clients does. Nobody waits for it: the next refresh does it again.
func (c *Cache) prolongAccount(b batch) {
	if c.lists.Load() && b.p.user && slices.ContainsFunc(b.entries, func(e stored) bool { return e.Section == serializer.SectionRefreshToken }) {
		c.background(func(ctx context.Context) { _ = c.listAccount(ctx, b, "XX") })
	}
}

func (c *Cache) listAccount(ctx context.Context, b batch, how string) error {
	key := c.keys.Accounts()
	return c.store.run(ctx, layout.EnlistScript, []string{key, key}, func(reply) error { return nil },
		string(b.p.pid), formatInt(c.o.UserTTL.Milliseconds()), formatInt(accountsAtMost), "0", how)
}

// loadAccounts marks every listed account as in use on m. MSAL does not say which client it asks for: where m's is
// known, accounts without tokens of it are left out.
func (c *Cache) loadAccounts(ctx context.Context, m *manager) error {
	c.lists.Store(true)
	var pids atomic.Pointer[[]string]
	err := c.store.do(ctx, c.keys.Accounts(), func(ctx context.Context) error {
		list, err := c.store.client.ZRange(ctx, c.keys.Accounts(), 0, accountsAtMost-1).Result()
		pids.Store(&list)
		return unlessOfAnotherType(err)
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	client := m.client
	inUse := make([]string, 0, len(m.inUse))
	for key := range m.inUse {
		inUse = append(inUse, key)
	}
	m.mu.Unlock()
	for _, key := range inUse { // one may have signed out since, and so be on no list
		if err := c.loadInto(ctx, m, key); err != nil {
			return err
		}
	}
	for _, name := range *pids.Load() {
		if !id(name).Usable() {
			continue
		}
		if err := c.loadAccount(ctx, m, id(name), client); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) loadAccount(ctx context.Context, m *manager, pid id, client string) error {
	p := c.partitions.named(pid, true)
	if !p.fresh(c.clock.elapsed(), c.o.LocalTTL) {
		if _, err := c.partitions.load(ctx, p); err != nil {
			return err
		}
	}
	account, ours := "", client == ""
	for _, e := range p.snap.Load().live(c.clock.redis()) {
		if e.Section == serializer.SectionAccount {
			account = e.HomeAccountID
		}
		if e.Section == serializer.SectionRefreshToken && (e.ClientID == client || e.FamilyID != "") {
			ours = true
		}
	}
	if account == "" || !ours || layout.PartitionID(account) != pid {
		return nil
	}
	return c.loadInto(ctx, m, account)
}

// unlessOfAnotherType is the error of a command, unless its key is another program's: then nothing of ours is there.
func unlessOfAnotherType(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE ") {
		return nil
	}
	return err
}
