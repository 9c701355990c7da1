package tokenstore

import (
	"context"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// listedAtMost bounds what is listed for one partition, 60 bytes each: scopes times assertions, or an app's resources.
// What is not listed outlives a removal. signout.lua has the same number, which it reads in some 60 ms: a quarter of a
// million takes Redis longer than OpTimeout.
const listedAtMost = 1 << 14

// List notes, for a while in milliseconds, what goes when a partition is removed. false: something was removed of it
// after asked, and what was to be listed must not be kept.
func (st *Store) List(
	ctx context.Context, pid ID, member layout.Member, life int64, asked redistime.Time,
) (bool, error) {
	var listed atomic.Bool
	err := st.o.Redis.Run(ctx, layout.EnlistScript, []string{st.o.Names.RIDs(pid), st.o.Names.Tombstone(pid)},
		func(reply redisop.Reply) error {
			listed.Store(reply.Number(0) == 1)
			return nil
		}, member.String(), digits(life), digits(listedAtMost), digits(asked.Micros()))
	return listed.Load(), err
}

// ForgetAnswer removes what is kept of a request identity.
func (st *Store) ForgetAnswer(ctx context.Context, rid ID) error {
	n := st.o.Names
	keys := []string{n.Response(rid), n.Tombstone(rid), n.Pause(rid)}
	return st.o.Redis.Run(ctx, layout.ForgetScript, keys, func(redisop.Reply) error { return nil },
		digits(layout.TombstoneLife.Milliseconds()))
}
