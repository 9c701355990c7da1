package accessor

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// MSAL asks for key "" where it means "all accounts": Accounts, RemoveAccount, and everything that a public client
// writes, although it reads silently under the account's key. So what comes under "" is stored in the accounts'
// own partitions, and a list of those makes it whole again.

// accountsAtMost bounds the list. MSAL unmarshals and marshals all of it under its write lock: 100,000 accounts cost
// 1.4 s each.
const accountsAtMost = 1024

// enlistAccount puts a partition on the list of accounts. Where Redis does not take it, it is made later: without it nobody else
// would list the account.
func (a *Accessor) enlistAccount(ctx context.Context, p *tokenstore.Record) error {
	a.lists.Store(true)
	err := a.listAccount(ctx, p, "")
	if err != nil {
		a.o.Store.Keep("account "+string(p.ID), &tokenstore.Waiting{Size: enlistmentSize, Push: func(ctx context.Context) error {
			if p.Known().Empty() {
				return nil // signed out meanwhile
			}
			return a.listAccount(ctx, p, "")
		}})
	}
	return err
}

// enlistmentSize is about what the wait of an enlistment takes.
const enlistmentSize = 256

// Prolong keeps an account on the list whose refresh token was just stored. Its refreshes come under its own key,
// which does not tell whether it is listed; it is not where this process has never asked for the list, as none with confidential
// clients does. Nobody waits for it: the next refresh does it again.
func (a *Accessor) Prolong(b tokenstore.Batch) {
	if a.lists.Load() && b.User && slices.ContainsFunc(b.Entries, func(e record.Entry) bool { return e.Section == msaldoc.SectionRefreshToken }) {
		a.o.Workers.Run(func() { _ = a.listAccount(a.o.Life, b.Record, "XX") })
	}
}

func (a *Accessor) listAccount(ctx context.Context, p *tokenstore.Record, how string) error {
	key := a.o.Names.Accounts()
	return a.o.Redis.Run(ctx, layout.EnlistScript, []string{key, key}, func(redisop.Reply) error { return nil },
		string(p.ID), formatInt(a.o.UserTTL.Milliseconds()), formatInt(accountsAtMost), "0", how)
}

// loadAccounts marks every listed account as in use on m. MSAL does not say which client it asks for: where m's is
// known, accounts without tokens of it are left out. whole: none is missing. It may be whole in spite of an error, where what Redis
// said before is known.
func (a *Accessor) loadAccounts(ctx context.Context, m *manager) (whole bool, err error) {
	a.lists.Store(true)
	listed, err := a.listedAccounts(ctx)
	if err != nil && listed == nil {
		return false, err
	}
	m.mu.Lock()
	client := m.client
	var loads []func() error
	for key, x := range m.inUse { // one may have signed out since, and so be on no list
		if !slices.Contains(*listed, x.p.ID) {
			loads = append(loads, func() error { _, err := a.loadInto(ctx, m, key); return err })
		}
	}
	m.mu.Unlock()
	var missing atomic.Bool
	for _, pid := range *listed {
		loads = append(loads, func() error {
			known, err := a.loadAccount(ctx, m, pid, client)
			if !known {
				missing.Store(true)
			}
			return err
		})
	}
	err = cmp.Or(atOnceAtMost(loadsAtOnce, loads), err)
	return !missing.Load(), err
}

// listedAccounts are the partitions on the list of accounts; after an error those that were on it when Redis last answered, nil if
// it never did.
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
		a.listed.Store(&listed)
		return nil
	})
	if err != nil {
		return a.listed.Load(), err
	}
	return answered.Load(), nil
}

// unlessStoring is the error for who asks for all accounts and would get some of them: to an application the others would be signed
// out. MSAL asks in the same way before it stores a public client's sign-in, which needs none of them and would be lost by an
// error, and does not say which it is: only the stack tells.
func unlessStoring(cause error) error {
	if !listing() {
		return nil
	}
	return failure.Of("the accounts could not all be read", cause)
}

// listing tells whether MSAL's Client.Accounts is among the callers.
func listing() bool {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "/apps/internal/base.Client.AllAccounts") {
			return true
		}
		if !more {
			return false
		}
	}
}

// loadsAtOnce bounds the accounts that are asked for at once, so that a list of them leaves something of the pool to others.
const loadsAtOnce = 8

// atOnceAtMost runs all of fs, n at a time, and returns their first error.
func atOnceAtMost(n int, fs []func() error) error {
	var g errgroup.Group
	g.SetLimit(n)
	for _, f := range fs {
		g.Go(f)
	}
	return g.Wait()
}

// listedFor is for how long a confirmed record is not asked for again where its account is on the list: a sign-out takes the account
// off it, and who wants a token asks for the record itself.
const listedFor = time.Minute

// loadAccount marks a listed account as in use on m. known: Redis has told of it, now or before.
func (a *Accessor) loadAccount(ctx context.Context, m *manager, pid id, client string) (known bool, err error) {
	p := a.o.Store.Of(pid, true)
	if !p.Fresh(a.elapsed(), max(a.o.LocalTTL, min(listedFor, a.o.UserTTL/2))) {
		err = a.o.Store.Load(ctx, p) // after an error what was known before is listed
	}
	account, ours := "", client == ""
	for _, e := range p.Known().Live(a.o.Clock.Now()) {
		if e.Section == msaldoc.SectionAccount {
			account = e.HomeAccountID
		}
		if e.RefreshesFor(client) {
			ours = true
		}
	}
	if account != "" && ours && layout.PartitionID(account) == pid {
		a.use(m, layout.FoldKey(account), p)
	}
	return err == nil || account != "" || p.Known().Checked != 0, err
}
