package msalredis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redislogin"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
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
	m, now := c.managers.of(u), c.clock.Elapsed()
	p, ok := m.current(hints.PartitionKey, now, int64(c.o.LocalTTL))
	if !ok {
		return c.replace(ctx, m, u, hints.PartitionKey)
	}
	c.metrics.Lookups.Memory.Add(1)
	if now-p.checked.Load() >= int64(c.o.LocalTTL/2) {
		c.revalidate(p)
	}
	return nil
}

// replace brings what is known of a partition up to date and hands it over.
func (c *Cache) replace(ctx context.Context, m *manager, u cache.Unmarshaler, key string) error {
	if redislogin.Marked(ctx) {
		return errRedisLogin
	}
	if c.isOBO(m, u, key) {
		return nil
	}
	spelling := key
	key = layout.FoldKey(key)
	defer c.changes.listen() // afterwards: a new process wants its tokens before a second connection
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
		return failClosed("reading tokens", err)
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
	now := c.clock.Elapsed()
	if x != nil {
		m.using(x, now) // it may have been dropped while this call waited for its turn
		x.spelling = spelling
	}
	if _, ok := m.current(spelling, now, int64(c.o.LocalTTL)); !ok { // else another call has done it
		c.handOver(u, m, key)
	}
	return nil
}

// loadInto brings the knowledge of a partition up to date and marks it as in use on m.
func (c *Cache) loadInto(ctx context.Context, m *manager, key string) (*use, error) {
	p := c.partitions.of(key)
	var err error
	if !p.fresh(c.clock.Elapsed(), c.o.LocalTTL) {
		_, err = c.partitions.load(ctx, p)
		switch s := p.snap.Load(); {
		case err != nil:
			c.metrics.Lookups.Unknown.Add(1)
		case s != nil && len(s.entries) > 0:
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
func (c *Cache) use(m *manager, key string, p *partition) *use {
	now := c.clock.Elapsed()
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.inUse[key]
	if x == nil || x.p != p {
		x = &use{key: key, spelling: key, p: p}
	}
	m.using(x, now)
	return x
}

// revalidate asks Redis about a partition in the background, so that one in use never gets older than LocalTTL
// and nobody waits for that.
func (c *Cache) revalidate(p *partition) {
	if c.redis.Breaker.IsOpen() || !p.asking.TryLock() {
		return
	}
	defer p.asking.Unlock()
	if p.asked == nil || p.asked.Over() {
		p.asked = c.partitions.question(c.life, p, nil)
		c.redis.Start(p.asked)
	}
}

// isOBO tells whether m is the manager of on-behalf-of tokens. That one is left alone but for emptying it (see assertions). The gate
// shares its tokens.
func (c *Cache) isOBO(m *manager, u cache.Unmarshaler, key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	epoch := c.assertions.epoch.Load()
	if !m.tried {
		m.obo = !m.meet(u)
		m.tried, m.emptied = true, epoch
	}
	if !m.obo {
		return false
	}
	if epoch = c.assertions.used(key); m.emptied != epoch {
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
	c.assertions.stored(hints.PartitionKey) // with the manager of the other tokens, MSAL exports an assertion's key
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
	m.app = m.app || slices.ContainsFunc(r.batches, func(b batch) bool { return !b.p.user })
	m.unshared.lose(removed)
	m.unshared.lose(changed)
	m.unshared.keep(c, r.unshared, hints.PartitionKey)
	// What is not kept must not stay: MSAL would go on serving it, and it would look new at each Export.
	if r.refused || len(gone) > 0 || m.app && m.unshared.nobodys() || msaldoc.HasSuperseded(changed, entries) {
		m.view.Store(nil)
	}
	for _, e := range changed {
		if e.Section == msaldoc.SectionRefreshToken {
			c.lineages.learn(e)
		}
		if e.ClientID != "" && e.ClientID != m.client {
			m.client = strings.Clone(e.ClientID)
		}
	}
	m.mu.Unlock()

	signOut := c.removeAccounts(ctx, gone)
	var errs []error
	for _, b := range r.batches {
		b.entries = c.news(b)
		if len(b.entries) == 0 {
			continue
		}
		refused, err := c.write(ctx, b)
		if refused {
			m.mu.Lock()
			m.view.Store(nil)
			m.mu.Unlock()
		}
		errs = append(errs, err)
		if hints.PartitionKey == "" && b.p.user {
			errs = append(errs, c.enlistAccount(ctx, b.p))
		}
		errs = append(errs, c.enlistExtended(ctx, b))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if signOut != nil {
		return signOut
	}
	if err := errors.Join(errs...); err != nil && c.o.FailClosed {
		return failClosed("storing tokens", err)
	}
	return nil
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
			p := c.partitions.of(key)
			b := batch{p: p}
			if s := p.snap.Load(); s != nil {
				b.known = s.generation
			}
			r.batches = append(r.batches, b)
		}
		b := &r.batches[i]
		stamp := c.clock.Now().Micros()
		session := int64(0)
		if o, ok := c.origins.of(e.Secret); ok {
			if c.ended(o) {
				r.refused, b.ended = true, true
				return
			}
			stamp = o.stamp
			b.known, session = o.known, o.session
			if o.fresh && (!o.timed || c.removals.before(b.p.pid, o.began)) {
				session = b.p.since(session) // later than the removals that were known, whatever the precision of our clock
			}
			switch {
			case o.fresh && o.timed && session <= stamp+ahead.Microseconds():
				// A sign-out since then, here or elsewhere, concerns it.
				b.known = max(session, c.removals.knownAt(b.p.pid, o.began), c.askedAt(o))
				b.signIn = o.began
			case o.fresh:
				b.fresh = true
			}
		} else if e.Section == msaldoc.SectionRefreshToken && m.signsIn(e, hint) {
			b.fresh = true
		}
		b.began = max(b.began, session)
		if shift := c.clock.Shift(); shift != 0 {
			e = e.WithTimes(shift)
		}
		if e.Section == msaldoc.SectionAccessToken {
			e.Capabilities, e.Asked = c.askedFor(m, e)
		}
		x := newStored(e, stamp)
		x.session = session
		b.entries = append(b.entries, x)
	}
	var metadata []msaldoc.Entry
	defer func() {
		// Of a sign-in that has ended, the account alone would be left.
		r.batches = slices.DeleteFunc(r.batches, func(b batch) bool { return b.ended && !slices.ContainsFunc(b.entries, isToken) })
	}()
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
			if hint != "" && e.Section == msaldoc.SectionAccessToken && !c.assertions.has(hint) {
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
			if r.batches[i].p.user {
				r.batches[i].entries = append(r.batches[i].entries, newStored(e, c.clock.Now().Micros()))
			}
		}
	}
	for i := range r.batches {
		r.batches[i].complete(c)
	}
	return r
}

// complete gives the entries of a user's batch that did not pass the gate a session: that of the others, of the sign-in that they
// are, or of the refresh token that was there. The account is none of one sign-in alone, and goes with the latest.
func (b *batch) complete(c *Cache) {
	if !b.p.user {
		return
	}
	session := b.began
	if session == 0 && b.fresh {
		session = b.p.since(c.clock.Now().Micros())
	}
	if s := b.p.snap.Load(); session == 0 && s != nil {
		for _, e := range s.entries {
			if e.Section == msaldoc.SectionRefreshToken {
				session = max(session, e.session)
			}
		}
	}
	for i := range b.entries {
		if b.entries[i].session == 0 {
			b.entries[i].session = session
		}
	}
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

// news are the entries of a batch that the record does not have. A token whose secret is the stored one is the
// same token: the gate gives a due one with a later refresh_in, which concerns this process alone.
func (c *Cache) news(b batch) []stored {
	s := b.p.snap.Load()
	if s == nil {
		return b.entries
	}
	var out, same []stored
	for _, e := range b.entries {
		held, ok := s.entries[e.field]
		switch {
		case !ok:
			out = append(out, e)
		case e.Section == msaldoc.SectionAccessToken && e.Secret == held.Secret:
			same = append(same, e)
		case !e.Equal(held.Entry):
			out = append(out, e)
		}
	}
	b.p.adopt(same)
	return out
}

func isToken(e stored) bool {
	return e.Section == msaldoc.SectionAccessToken || e.Section == msaldoc.SectionRefreshToken
}
