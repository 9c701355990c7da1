package accessor

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// MSAL asks for key "" where it means "all accounts": Accounts, RemoveAccount, and everything that a public client
// writes, although it reads silently under the account's key. So what comes under "" is stored in the accounts' own
// partitions, and a list of those makes it whole again.

// accountsAtMost bounds the list. MSAL unmarshals and marshals all of it under its write lock: 100,000 accounts cost
// 1.4 s each.
const accountsAtMost = 1024

// loadsAtOnce bounds the accounts that are asked for at once, so that a list of them leaves something of the pool to
// others.
const loadsAtOnce = 8

// listedFreshFor is for how long a confirmed record is not asked for again where its account is on the list: a sign-out
// takes the account off it, and who wants a token asks for the record itself.
const listedFreshFor = time.Minute

// enlistmentSize is about what the wait of an enlistment takes.
const enlistmentSize = 256

// loadAccounts marks every listed account as in use on m. MSAL does not say which client it asks for: where m's is
// known, accounts without tokens of it are left out. whole: none is missing. It may be whole in spite of an error,
// where what Redis said before is known.
func (a *Accessor) loadAccounts(ctx context.Context, m *manager) (whole bool, err error) {
	a.listUsed.Store(true)
	listed, err := a.listedAccounts(ctx)
	if err != nil && listed == nil {
		return false, err
	}
	m.mu.Lock()
	clientID := m.clientID
	var loads []func() error
	for key, p := range m.inUse { // one may have signed out since, and so be on no list
		if !slices.Contains(*listed, p.record.ID) {
			loads = append(loads, func() error { _, err := a.loadPartition(ctx, m, key); return err })
		}
	}
	m.mu.Unlock()
	var missing atomic.Bool
	for _, pid := range *listed {
		loads = append(loads, func() error {
			known, err := a.loadAccount(ctx, m, pid, clientID)
			if !known {
				missing.Store(true)
			}
			return err
		})
	}
	err = cmp.Or(runAll(loads, loadsAtOnce), err)
	return !missing.Load(), err
}

// listedAccounts are the partitions on the list of accounts; after an error those that were on it when Redis last
// answered, nil if it never did.
func (a *Accessor) listedAccounts(ctx context.Context) (*[]id, error) {
	var answered atomic.Pointer[[]id]
	err := a.o.Redis.Do(ctx, a.o.Names.Accounts(), func(ctx context.Context, client redis.UniversalClient) error {
		list, err := client.ZRange(ctx, a.o.Names.Accounts(), 0, accountsAtMost-1).Result()
		if err = redisop.UnlessOfAnotherType(err); err != nil {
			return err
		}
		listed := []id{}
		for _, name := range list {
			if id(name).Usable() {
				listed = append(listed, id(name))
			}
		}
		answered.Store(&listed)
		a.lastListed.Store(&listed)
		return nil
	})
	if err != nil {
		return a.lastListed.Load(), err
	}
	return answered.Load(), nil
}

// loadAccount marks a listed account as in use on m. known: Redis has told of it, now or before.
func (a *Accessor) loadAccount(ctx context.Context, m *manager, pid id, clientID string) (known bool, err error) {
	r := a.o.Store.Of(pid, true)
	if !a.o.Store.Fresh(r, max(a.o.LocalTTL, min(listedFreshFor, a.o.UserTTL/2))) {
		err = a.o.Store.Load(ctx, r) // after an error what was known before is listed
	}
	account, ofClient := "", clientID == ""
	for _, e := range r.Known().Live(a.o.Clock.Now()) {
		if e.Section == msaldoc.SectionAccount {
			account = e.HomeAccountID
		}
		if e.RefreshesFor(clientID) {
			ofClient = true
		}
	}
	if account != "" && ofClient && layout.PartitionID(account) == pid {
		a.markInUse(m, layout.FoldKey(account), r)
	}
	return err == nil || account != "" || r.Known().Checked != 0, err
}

// runAll runs all of fs, so many at a time, and returns their first error.
func runAll(fs []func() error, atOnce int) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, f := range fs {
		g.Go(f)
	}
	return g.Wait()
}

// enlistAccount puts a partition on the list of accounts. Where Redis does not take it, that is done later: without it
// nobody else would list the account.
func (a *Accessor) enlistAccount(ctx context.Context, r *tokenstore.Record) error {
	a.listUsed.Store(true)
	err := a.enlist(ctx, r, "")
	if err != nil {
		later := func(ctx context.Context) error {
			if r.Known().Empty() {
				return nil // signed out meanwhile
			}
			return a.enlist(ctx, r, "")
		}
		a.o.Store.Keep("account "+string(r.ID), &tokenstore.Waiting{Size: enlistmentSize, Push: later})
	}
	return err
}

// Prolong keeps an account on the list whose refresh token was just stored. Its refreshes come under its own key, which
// does not tell whether it is listed. It is not where this process has never used the list, as none with confidential
// clients does. Nobody waits for it: the next refresh does it again.
func (a *Accessor) Prolong(b tokenstore.Batch) {
	isRefreshToken := func(e record.Entry) bool { return e.Section == msaldoc.SectionRefreshToken }
	if a.listUsed.Load() && b.User && slices.ContainsFunc(b.Entries, isRefreshToken) {
		a.o.Workers.Run(func() { _ = a.enlist(a.o.Life, b.Record, "XX") })
	}
}

// enlist has Redis put a partition on the list, or keep it there. condition is ZADD's: "XX" only keeps it.
func (a *Accessor) enlist(ctx context.Context, r *tokenstore.Record, condition string) error {
	key := a.o.Names.Accounts()
	return a.o.Redis.Run(ctx, layout.EnlistScript, []string{key, key}, func(redisop.Reply) error { return nil },
		string(r.ID), formatInt(a.o.UserTTL.Milliseconds()), formatInt(accountsAtMost), "0", condition)
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
