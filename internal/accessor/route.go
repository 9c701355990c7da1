package accessor

import (
	"slices"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// routed are the changed entries of an Export, sorted by where they belong.
type routed struct {
	batches  []batch
	unshared []msaldoc.Entry // they stay with their manager
	refused  bool            // some belong nowhere
}

// route sorts changed entries into partitions by their own fields.
//
// MSAL's key is a hint, wrong at times: it is that of the latest token, and what no Export has told of comes with it. A
// user's sign-in or refresh that was answered without id_token and client_info has no home_account_id. It names
// no user, so it is not shared: a sign-out could not find it, and under the app's key it would become the app's token
// for the whole fleet.
//
// The caller holds m.mu.
func (a *Accessor) route(m *manager, changed []msaldoc.Entry, hint string) (r routed) {
	at := map[string]int{}
	add := func(key string, e msaldoc.Entry) {
		i, ok := at[key]
		if !ok {
			i = len(r.batches)
			at[key] = i
			r.batches = append(r.batches, batch{Batch: tokenstore.Batch{Record: a.record(key)}})
		}
		r.refused = !r.batches[i].add(a, m, e, hint) || r.refused
	}
	ofUser := slices.ContainsFunc(changed, func(e msaldoc.Entry) bool {
		return hint != "" && strings.EqualFold(e.HomeAccountID, hint)
	})
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
			if hint != "" && !ofUser && e.Section == msaldoc.SectionAccessToken {
				a.tellUnknownKey()
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
				r.batches[i].Entries = append(r.batches[i].Entries, record.New(e, a.o.Clock.Now(), 0))
			}
		}
	}
	for i := range r.batches {
		r.batches[i].fillSessions(a, m)
	}
	// Of a sign-in that has ended, the account alone would be left.
	r.batches = slices.DeleteFunc(r.batches, func(b batch) bool {
		return b.ended && !slices.ContainsFunc(b.Entries, isToken)
	})
	return r
}

// tellUnknownKey tells that MSAL has stored a token that names no user under a key that is neither an app's nor an
// assertion's. So would an app's be if MSAL changed the form of its key.
//
// It is not told of a key that is that of a user whose entries came with the token: the key is of a known form, and the
// token came along. It does in the document of a naive accessor that is taken over, and where the caller who asked for
// it has left.
func (a *Accessor) tellUnknownKey() {
	a.o.Metrics.Wrote(telemetry.OfUnknownKey)
	a.unknownKeyTold.Do(func() {
		a.o.Log.Warn("a token that names no user came under a key that is not an app's, and is not shared; is MSAL too new?")
	})
}

func isToken(e record.Entry) bool {
	return e.Section == msaldoc.SectionAccessToken || e.Section == msaldoc.SectionRefreshToken
}
