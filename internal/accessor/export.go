package accessor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// errNothingRemoved is what MSAL's RemoveAccount returns for an account that its client has not loaded.
var errNothingRemoved = errors.New("msalredis: MSAL removed nothing, because this client has not loaded the account; " +
	"call the client's Account first, or sign out with Cache.RemoveAccount")

// Export stores what MSAL has changed since Replace. MSAL calls it after a token has arrived, and after RemoveAccount.
func (a *Accessor) Export(ctx context.Context, marshaler cache.Marshaler, hints cache.ExportHints) error {
	if err := redisop.Usable(a.o.Life, ctx); err != nil {
		return err
	}
	// Under an assertion's key MSAL exports the manager of the other tokens, which it has not written to since it was
	// exported last. Marshalling and reading that to find nothing cost 30 ms at 1,000 tokens, under MSAL's lock. What no
	// Export has told of, as its caller left or its scopes were declined, is told of at the next one under another key.
	if a.o.OnBehalfOf.Stored(hints.PartitionKey) {
		if !a.o.Gated() {
			a.tellPastGate()
		}
		return nil
	}
	m := a.managers.of(marshaler)
	x, err := a.takeIn(m, marshaler, hints.PartitionKey)
	if x == nil || err != nil {
		return err
	}
	signOutErr := a.o.SignOut(ctx, x.signedOut)
	storeErr := a.store(ctx, m, x.batches, hints.PartitionKey)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case signOutErr != nil:
		return signOutErr
	case storeErr != nil && a.o.FailClosed:
		return failure.Closed("storing tokens", storeErr)
	}
	return nil
}

// exported is what MSAL has changed.
type exported struct {
	routed
	signedOut []string // the home account ids of the accounts that it has removed
}

// takeIn takes in MSAL's document: what it has changed, and what MSAL holds from now on. nil: nothing is to be stored.
func (a *Accessor) takeIn(m *manager, marshaler cache.Marshaler, hint string) (*exported, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, isNew, err := m.marshal(marshaler, hint)
	if !isNew {
		return nil, err
	}
	entries, err := msaldoc.Parse(data)
	if err != nil {
		m.view.Store(nil)
		return nil, fmt.Errorf("msalredis: MSAL's cache document: %w", err)
	}
	entries = msaldoc.WithKeysFolded(entries)
	changed, removed := msaldoc.Diff(m.document, entries)
	if hint == "" && len(changed) == 0 && len(removed) == 0 {
		return nil, errNothingRemoved
	}
	if a.learnCapabilities(m, changed) {
		m.view.Store(nil) // it may have more tokens now
	}
	x := &exported{}
	if hint == "" {
		x.signedOut = msaldoc.RemovedAccounts(removed)
		changed = slices.DeleteFunc(changed, func(e msaldoc.Entry) bool {
			return slices.Contains(x.signedOut, e.HomeAccountID)
		})
	}
	changed = append(changed, m.unshared.accountsOf(changed, layout.FoldKey(hint))...)
	x.routed = a.route(m, changed, hint)
	m.document, m.marshalled = entries, data
	m.servesApps = m.servesApps || slices.ContainsFunc(x.batches, func(b batch) bool { return !b.User })
	m.unshared.remove(removed)
	m.unshared.remove(changed)
	m.unshared.keep(a, x.unshared, hint)
	// What is not kept must not stay: MSAL would go on serving it, and it would look new at each Export.
	if x.refused || len(x.signedOut) > 0 || m.servesApps && m.unshared.anyNamesNobody() ||
		msaldoc.HasSuperseded(changed, entries) {
		m.view.Store(nil)
	}
	a.learnClient(m, changed)
	return x, nil
}

// marshal is MSAL's document, and whether there may be something new in it to share. The caller holds m.mu.
func (m *manager) marshal(marshaler cache.Marshaler, hint string) (data []byte, isNew bool, err error) {
	if m.onBehalfOf {
		return nil, false, nil
	}
	data, err = marshaler.Marshal()
	if err != nil {
		return nil, false, fmt.Errorf("msalredis: MSAL's cache could not be marshalled: %w", err)
	}
	// What is known already is of one of many who waited for the same token: another has brought it here.
	return data, hint == "" || !bytes.Equal(data, m.marshalled), nil
}

// learnClient learns from changed entries whose refresh tokens a client may redeem, and which client it is. The caller
// holds m.mu.
func (a *Accessor) learnClient(m *manager, changed []msaldoc.Entry) {
	for _, e := range changed {
		if e.Section == msaldoc.SectionRefreshToken {
			a.o.Lineages.Learn(e)
		}
		if e.ClientID != "" && e.ClientID != m.clientID {
			m.clientID = strings.Clone(e.ClientID)
		}
	}
}

// store stores what the records do not have, and lists it.
func (a *Accessor) store(ctx context.Context, m *manager, batches []batch, hint string) error {
	var errs []error
	for _, b := range batches {
		b.Entries = changesOf(b.Batch)
		if len(b.Entries) == 0 {
			continue
		}
		ended, err := a.o.Store.Write(ctx, b.Batch)
		if ended {
			m.mu.Lock()
			m.view.Store(nil)
			m.mu.Unlock()
		}
		errs = append(errs, err)
		if hint == "" && b.User {
			errs = append(errs, a.enlistAccount(ctx, b.Record))
		}
		errs = append(errs, a.listExtended(ctx, b.ID, b.Entries))
	}
	return errors.Join(errs...)
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
