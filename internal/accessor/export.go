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
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// errNothingRemoved is what MSAL's RemoveAccount returns for an account that its client has not loaded.
var errNothingRemoved = errors.New("msalredis: MSAL removed nothing, because this client has not loaded the account; " +
	"call the client's Account first, or sign out with Cache.RemoveAccount")

// Export stores what MSAL has changed since Replace. MSAL calls it after a token has arrived, and after RemoveAccount.
func (a *Accessor) Export(ctx context.Context, marshaler cache.Marshaler, hints cache.ExportHints) error {
	if err := a.usable(ctx); err != nil {
		return err
	}
	// MSAL exports an assertion's key with the manager of the other tokens.
	a.o.OnBehalfOf.Stored(hints.PartitionKey)
	m := a.managers.of(marshaler)
	m.mu.Lock()
	if m.onBehalfOf {
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
	if a.learnCapabilities(m, changed) {
		m.view.Store(nil) // it may have more tokens now
	}
	var signedOut []string
	if hints.PartitionKey == "" {
		signedOut = msaldoc.RemovedAccounts(removed)
		changed = slices.DeleteFunc(changed, func(e msaldoc.Entry) bool {
			return slices.Contains(signedOut, e.HomeAccountID)
		})
	}
	changed = append(changed, m.unshared.accountsOf(changed, layout.FoldKey(hints.PartitionKey))...)
	r := a.route(m, changed, hints.PartitionKey)
	m.document, m.marshalled = entries, data
	m.servesApps = m.servesApps || slices.ContainsFunc(r.batches, func(b batch) bool { return !b.User })
	m.unshared.remove(removed)
	m.unshared.remove(changed)
	m.unshared.keep(a, r.unshared, hints.PartitionKey)
	// What is not kept must not stay: MSAL would go on serving it, and it would look new at each Export.
	if r.refused || len(signedOut) > 0 || m.servesApps && m.unshared.anyNamesNobody() ||
		msaldoc.HasSuperseded(changed, entries) {
		m.view.Store(nil)
	}
	for _, e := range changed {
		if e.Section == msaldoc.SectionRefreshToken {
			a.o.Lineages.Learn(e)
		}
		if e.ClientID != "" && e.ClientID != m.clientID {
			m.clientID = strings.Clone(e.ClientID)
		}
	}
	m.mu.Unlock()

	signOutErr := a.o.SignOut(ctx, signedOut)
	var errs []error
	for _, b := range r.batches {
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
		if hints.PartitionKey == "" && b.User {
			errs = append(errs, a.enlistAccount(ctx, b.Record))
		}
		errs = append(errs, a.listExtended(ctx, b.ID, b.Entries))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if signOutErr != nil {
		return signOutErr
	}
	if err := errors.Join(errs...); err != nil && a.o.FailClosed {
		return failure.Closed("storing tokens", err)
	}
	return nil
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
