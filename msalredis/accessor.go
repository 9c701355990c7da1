package msalredis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redislogin"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

var _ cache.ExportReplace = (*Cache)(nil)

// Replace gives MSAL's manager what is known of a partition. MSAL calls it before it reads its cache.
//
// While the manager holds the partition, and that knowledge is younger than LocalTTL, it returns at once. Otherwise it
// asks Redis, for OpTimeout at most once it is its turn (see [New]). It never waits for a lease: MSAL holds a mutex of its own around this call,
// which the lease's holder may need to store its token.
//
// An error is ctx's, or [ErrClosed]; Redis's only with FailClosed, or where MSAL asks for all accounts to list them and not all
// are known; or says that entralogin's credential uses this Cache. It is safe for concurrent use.
func (c *Cache) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	m, now := c.managers.of(u), c.elapsed()
	p, ok := m.current(hints.PartitionKey, now, c.o.LocalTTL)
	if !ok {
		return c.replace(ctx, m, u, hints.PartitionKey)
	}
	c.metrics.Lookups.Memory.Add(1)
	if now-p.Known().Checked >= c.o.LocalTTL/2 {
		c.store.Revalidate(p)
	}
	return nil
}

// replace brings what is known of a partition up to date and hands it over.
func (c *Cache) replace(ctx context.Context, m *manager, u cache.Unmarshaler, key string) error {
	if redislogin.Marked(ctx) {
		return failure.ErrRedisLogin
	}
	if c.isOBO(m, u, key) {
		return nil
	}
	spelling := key
	key = layout.FoldKey(key)
	defer c.remover.Listen() // afterwards: a new process wants its tokens before a second connection
	ctx, span := c.metrics.Start(ctx, telemetry.SpanReplace)
	defer span.End()
	var x *use
	var err error
	whole := true
	if key == "" {
		whole, err = c.loadAccounts(ctx, m)
	} else {
		x, err = c.loadInto(ctx, m, key)
	}
	if err != nil && ctx.Err() == nil {
		telemetry.Failed(span, string(redisop.Failure(err)))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && c.o.FailClosed {
		return failure.Closed("reading tokens", err)
	}
	if !whole {
		if err := unlessStoring(err); err != nil {
			return err
		}
	}
	if c.hooks.loaded != nil {
		c.hooks.loaded(m, key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := c.elapsed()
	if x != nil {
		m.using(x, now) // it may have been dropped while this call waited for its turn
		x.spelling = spelling
	}
	if _, ok := m.current(spelling, now, c.o.LocalTTL); !ok { // else another call has done it
		c.handOver(u, m, key)
	}
	return nil
}

// loadInto brings the knowledge of a partition up to date and marks it as in use on m.
func (c *Cache) loadInto(ctx context.Context, m *manager, key string) (*use, error) {
	p := c.record(key)
	var err error
	if !p.Fresh(c.elapsed(), c.o.LocalTTL) {
		err = c.store.Load(ctx, p)
		switch {
		case err != nil:
			c.metrics.Lookups.Unknown.Add(1)
		case !p.Known().Empty():
			c.metrics.Lookups.Redis.Add(1)
		default:
			c.metrics.Lookups.Nowhere.Add(1)
		}
	} else {
		c.metrics.Lookups.Process.Add(1)
	}
	return c.use(m, key, p), err
}

// use marks a partition as in use on m.
func (c *Cache) use(m *manager, key string, p *tokenstore.Record) *use {
	now := c.elapsed()
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.inUse[key]
	if x == nil || x.p != p {
		x = &use{key: key, spelling: key, p: p}
	}
	m.using(x, now)
	return x
}

// isOBO tells whether m is the manager of on-behalf-of tokens. That one is left alone but for emptying it (see issued.OnBehalfOf). The gate
// shares its tokens.
func (c *Cache) isOBO(m *manager, u cache.Unmarshaler, key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	epoch := c.onBehalfOf.Emptyings()
	if !m.tried {
		m.obo = !m.meet(u)
		m.tried, m.emptied = true, epoch
	}
	if !m.obo {
		return false
	}
	if epoch = c.onBehalfOf.Used(key); m.emptied != epoch {
		if err := u.Unmarshal(nil); err != nil {
			c.log.Warn("on-behalf-of tokens in MSAL's memory could not be emptied")
		}
		m.emptied = epoch
	}
	return true
}

// meet finds out which of MSAL's managers is met for the first time, by handing it what it holds: that of on-behalf-of tokens cannot
// read back what it marshals, and a refusal changes nothing. What the other one holds stays with it (see adopt).
//
// Marshal of the manager of on-behalf-of tokens takes no lock, and does not need one here: MSAL calls Replace with its mutex locked,
// and writes to a manager only with that mutex write-locked. Later it is not called any more.
//
// The caller holds m.mu.
func (m *manager) meet(u cache.Unmarshaler) bool {
	if marshaler, ok := u.(cache.Marshaler); ok {
		if data, err := marshaler.Marshal(); err == nil && u.Unmarshal(data) == nil {
			if held, err := msaldoc.Parse(data); err == nil {
				held = msaldoc.WithKeysFolded(held)
				unknown, _ := msaldoc.Diff(m.document, held)
				m.unshared.adopt(unknown)
				m.document = held
				return true
			}
		}
	}
	m.document, m.marshalled = nil, nil
	return u.Unmarshal([]byte("{}")) == nil
}

// Export stores what MSAL has changed since Replace. MSAL calls it after a token has arrived, and after
// RemoveAccount.
//
// It writes only what changed, and what it writes never replaces something newer. It waits for Redis for OpTimeout
// at most once it is its turn (see [New]). If Redis does not take the write, it is kept and made later, and Export returns nil; with FailClosed it
// is made later all the same, and Redis's error is returned. Else an error is ctx's, [ErrClosed], that of a RemoveAccount of
// MSAL, which [Cache.RemoveAccount] explains, or says that MSAL's document could not be had or read. It is safe for concurrent use.
func (c *Cache) Export(ctx context.Context, marshaler cache.Marshaler, hints cache.ExportHints) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	c.onBehalfOf.Stored(hints.PartitionKey) // with the manager of the other tokens, MSAL exports an assertion's key
	m := c.managers.of(marshaler)
	m.mu.Lock()
	if m.obo {
		m.mu.Unlock()
		return nil
	}
	data, err := marshaler.Marshal()
	if err != nil {
		m.mu.Unlock()
		return fmt.Errorf("msalredis: MSAL's cache could not be marshalled: %w", err)
	}
	if hints.PartitionKey != "" && bytes.Equal(data, m.marshalled) {
		// One of many who waited for the same token: another has brought it here.
		m.mu.Unlock()
		return nil
	}
	entries, err := msaldoc.Parse(data)
	if err != nil {
		m.view.Store(nil)
		m.mu.Unlock()
		return fmt.Errorf("msalredis: MSAL's cache document: %w", err)
	}
	entries = msaldoc.WithKeysFolded(entries)
	changed, removed := msaldoc.Diff(m.document, entries)
	if hints.PartitionKey == "" && len(changed) == 0 && len(removed) == 0 {
		m.mu.Unlock()
		return errNothingRemoved
	}
	if c.learn(m, changed) {
		m.view.Store(nil) // it may have more tokens now
	}
	var gone []string
	if hints.PartitionKey == "" {
		gone = msaldoc.RemovedAccounts(removed)
		changed = slices.DeleteFunc(changed, func(e msaldoc.Entry) bool { return slices.Contains(gone, e.HomeAccountID) })
	}
	changed = append(changed, m.unshared.accountsOf(changed, layout.FoldKey(hints.PartitionKey))...)
	r := c.route(m, changed, hints.PartitionKey)
	m.document, m.marshalled = entries, data
	m.app = m.app || slices.ContainsFunc(r.batches, func(b batch) bool { return !b.User })
	m.unshared.lose(removed)
	m.unshared.lose(changed)
	m.unshared.keep(c, r.unshared, hints.PartitionKey)
	// What is not kept must not stay: MSAL would go on serving it, and it would look new at each Export.
	if r.refused || len(gone) > 0 || m.app && m.unshared.nobodys() || msaldoc.HasSuperseded(changed, entries) {
		m.view.Store(nil)
	}
	for _, e := range changed {
		if e.Section == msaldoc.SectionRefreshToken {
			c.lineages.Learn(e)
		}
		if e.ClientID != "" && e.ClientID != m.client {
			m.client = strings.Clone(e.ClientID)
		}
	}
	m.mu.Unlock()

	signOut := c.removeAccounts(ctx, gone)
	var errs []error
	for _, b := range r.batches {
		b.Entries = changesOf(b.Batch)
		if len(b.Entries) == 0 {
			continue
		}
		ended, err := c.store.Write(ctx, b.Batch)
		if ended {
			m.mu.Lock()
			m.view.Store(nil)
			m.mu.Unlock()
		}
		errs = append(errs, err)
		if hints.PartitionKey == "" && b.User {
			errs = append(errs, c.enlistAccount(ctx, b.Record))
		}
		errs = append(errs, c.listExtended(ctx, b.ID, b.Entries))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if signOut != nil {
		return signOut
	}
	if err := errors.Join(errs...); err != nil && c.o.FailClosed {
		return failure.Closed("storing tokens", err)
	}
	return nil
}

// batch is what an Export writes to one record.
type batch struct {
	tokenstore.Batch
	session redistime.Time // the latest that its tokens are known to belong to; 0: none
	began   time.Duration  // when that was issued, since the Cache's start; 0: not by this process
	signIn  bool           // of a sign-in that did not pass the gate
	ended   bool           // some of its tokens are left out: their account has signed out since they were asked for
}

// routed are the changed entries of an Export, sorted by where they belong.
type routed struct {
	batches  []batch
	unshared []msaldoc.Entry // they stay with their manager
	refused  bool            // some belong nowhere
}

// route sorts changed entries into partitions by their own fields.
//
// MSAL's key is a hint, wrong at times: an on-behalf-of token's arrival exports the other manager under the assertion's key. A user's
// sign-in or refresh that was answered without id_token and client_info has no home_account_id. It names no user, so
// it is not shared: a sign-out could not find it, and under the app's key it would become the app's token for the whole
// fleet.
//
// The caller holds m.mu.
func (c *Cache) route(m *manager, changed []msaldoc.Entry, hint string) (r routed) {
	at := map[string]int{}
	add := func(key string, e msaldoc.Entry) {
		i, ok := at[key]
		if !ok {
			i = len(r.batches)
			at[key] = i
			r.batches = append(r.batches, batch{Batch: tokenstore.Batch{Record: c.record(key)}})
		}
		r.refused = !r.batches[i].add(c, m, e, hint) || r.refused
	}
	var metadata []msaldoc.Entry
	for _, e := range changed {
		e = e.Clone() // as MSAL gave it, it keeps the whole document alive
		switch {
		case e.Section == msaldoc.SectionAppMetadata:
			metadata = append(metadata, e)
		case e.HomeAccountID != "" && msaldoc.IsAppKey(hint) && msaldoc.ReadByMSAL(e.Section):
			// An app's request that was answered with a user's token.
			r.unshared = append(r.unshared, e)
		case e.KeyBound():
			r.unshared = append(r.unshared, e)
		case e.HomeAccountID != "":
			add(e.HomeAccountID, e)
		case e.Section == msaldoc.SectionAccessToken && strings.EqualFold(hint, e.AppKey()):
			add(hint, e)
		case msaldoc.ReadByMSAL(e.Section):
			if hint != "" && e.Section == msaldoc.SectionAccessToken && !c.onBehalfOf.Has(hint) {
				c.unknownKey()
			}
			r.unshared = append(r.unshared, e)
		default:
			r.refused = true
		}
	}
	for _, e := range metadata {
		if msaldoc.IsPlainMetadata(e) {
			continue
		}
		for i := range r.batches {
			if r.batches[i].User {
				r.batches[i].Entries = append(r.batches[i].Entries, record.New(e, c.clock.Now(), 0))
			}
		}
	}
	for i := range r.batches {
		r.batches[i].complete(c, m)
	}
	// Of a sign-in that has ended, the account alone would be left.
	r.batches = slices.DeleteFunc(r.batches, func(b batch) bool { return b.ended && !slices.ContainsFunc(b.Entries, isToken) })
	return r
}

// add adds an entry to the batch; false: what it is of has been removed since it was asked for.
func (b *batch) add(c *Cache, m *manager, e msaldoc.Entry, hint string) bool {
	stamp, session, began := c.clock.Now(), redistime.Time(0), time.Duration(0)
	if o, ok := c.tokens.Of(e.Secret); ok {
		if c.tokens.Ended(o) {
			b.ended = true
			return false
		}
		stamp, session, began = o.Stamp, c.tokens.Session(o), o.Began
	} else if e.Section == msaldoc.SectionRefreshToken && m.signsIn(e, hint) {
		b.signIn = true
	}
	if session > b.session {
		b.session, b.began = session, began
	}
	if shift := c.clock.Shift(); shift != 0 {
		e = e.WithTimes(shift)
	}
	if e.Section == msaldoc.SectionAccessToken {
		e.Capabilities, e.Asked = c.askedFor(m, e)
	}
	x := record.New(e, stamp, session)
	x.Began = began
	b.Entries = append(b.Entries, x)
	return true
}

// complete gives the entries that did not pass the gate a session: that of the others, that of the refresh token which MSAL was given
// last, or, of a sign-in and where nothing is known, a new one. So without the gate no sign-in is lost, and a refresh that races a
// sign-out may come back. The account is none of one sign-in alone, and goes with the latest.
func (b *batch) complete(c *Cache, m *manager) {
	if b.session == 0 && b.User && !b.signIn {
		for _, s := range []*record.Snapshot{m.given(b.Record), b.Known().Snapshot} {
			if s == nil || b.session > 0 {
				continue
			}
			for _, e := range s.Entries {
				if e.Section == msaldoc.SectionRefreshToken {
					b.session = max(b.session, e.Session)
				}
			}
		}
	}
	if b.session == 0 {
		b.session, b.began = c.store.Asked(c.clock.Now()), c.elapsed()
	}
	for i := range b.Entries {
		if b.Entries[i].Session == 0 {
			b.Entries[i].Session, b.Entries[i].Began = b.session, b.began
		}
	}
}

// given is what MSAL was last given of a record; nil: nothing. The caller holds m.mu.
func (m *manager) given(r *tokenstore.Record) *record.Snapshot {
	for _, x := range m.inUse {
		if x.p.ID == r.ID {
			return x.read.snap
		}
	}
	return nil
}

// signsIn tells whether a refresh token that did not pass the gate came of a sign-in: under "" MSAL stores nothing else, and with no
// refresh token in hand it refreshes nothing. A refresh whose user signed out while it was under way looks the same: it is not told
// from a sign-in where the gate is not used. Where it is, and in a document that MSAL did not read before, nothing is taken for a
// sign-in. The caller holds m.mu.
func (m *manager) signsIn(rt msaldoc.Entry, hint string) bool {
	if !m.tried || m.declared.sure {
		return false
	}
	return hint == "" || !slices.ContainsFunc(m.document, func(e msaldoc.Entry) bool {
		return e.HomeAccountID == rt.HomeAccountID && e.RefreshesFor(rt.ClientID)
	})
}

// unknownKey tells that MSAL has stored a token that names no user under a key that is neither an app's nor an assertion's. So would
// an app's be if MSAL changed the form of its key.
func (c *Cache) unknownKey() {
	c.metrics.Wrote(telemetry.OfUnknownKey)
	c.unknownKeys.Do(func() {
		c.log.Warn("a token that names no user came under a key that is not an app's, and is not shared; is MSAL too new?")
	})
}

// changesOf are the entries of a batch that the record does not have. A token whose secret is the stored one is the
// same token: the gate gives a due one with a later refresh_in, which concerns this process alone.
func changesOf(b tokenstore.Batch) []record.Entry {
	s := b.Known().Snapshot
	if s == nil {
		return b.Entries
	}
	var out, same []record.Entry
	for _, e := range b.Entries {
		held, ok := s.Entries[e.Field]
		switch {
		case !ok:
			out = append(out, e)
		case e.Section == msaldoc.SectionAccessToken && e.Secret == held.Secret:
			same = append(same, e)
		case !e.Equal(held.Entry):
			out = append(out, e)
		}
	}
	b.Put(same)
	return out
}

func isToken(e record.Entry) bool {
	return e.Section == msaldoc.SectionAccessToken || e.Section == msaldoc.SectionRefreshToken
}
