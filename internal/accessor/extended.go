package accessor

import (
	"context"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
)

// listExtended notes a partition of an app whose requests carried extra parameters under the app's plain one,
// which is all that ForgetAppTokens can name.
func (a *Accessor) listExtended(ctx context.Context, pid id, entries []record.Entry) error {
	for _, e := range entries {
		if e.HomeAccountID != "" || e.ExtCacheKey == "" {
			continue
		}
		plain := layout.PartitionID(msaldoc.AppKey(e.ClientID, e.Realm, ""))
		life := max(e.Expiry*1000-a.o.Clock.Now().Micros()/1000, 1000)
		scopes := layout.MemberScopes(msaldoc.ScopesOf(e.Target))
		member := layout.Member{Kind: layout.MemberPartition, Scopes: scopes, ID: pid}
		if _, err := a.o.Store.List(ctx, plain, member, life, layout.MaxStamp); err != nil {
			return err
		}
	}
	return nil
}
