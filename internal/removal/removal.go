package removal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// Options are what a Remover is made with; all are needed.
type Options struct {
	Names layout.Names
	Redis *redisop.Redis
	Store *tokenstore.Store
	Clock *redistime.Clock
	// Forget forgets what is held in this process beside the Store. signedOutHere: a user has signed out in this process.
	Forget func(pid layout.ID, removed layout.Tombstone, signedOutHere bool)
	// Missed is called when removals may have gone unheard, and so at first.
	Missed func()

	Life    context.Context // ends with who asks
	Workers *workers.Group
}

// Remover removes partitions, and hears what others remove.
type Remover struct {
	o         Options
	self      string // in messages, which this process hears too
	listening sync.Once
}

// New makes a Remover. It hears nothing before Listen.
func New(o Options) *Remover { return &Remover{o: o, self: rand.Text()} }

// visitedAtMost bounds the partitions that are removed with one: whoever can write to Redis can list any.
const visitedAtMost = 4096

// unlistedTogether is how many answers are forgotten before they are taken off their list, so that a removal of
// thousands that is tried again goes on where it ended.
const unlistedTogether = 256

// waitingSize is about what the wait of a removal takes of memory.
const waitingSize = 256

// SignOut signs accounts out, which are named by their home account ids.
func (rs *Remover) SignOut(ctx context.Context, homeAccountIDs []string) error {
	var errs []error
	for _, account := range homeAccountIDs {
		if err := rs.Remove(ctx, rs.o.Store.Of(layout.PartitionID(account), true), nil); err != nil {
			errs = append(errs, fmt.Errorf("msalredis: a sign-out has not reached Redis and is tried again until it has: %w",
				err))
		}
	}
	return errors.Join(errs...)
}

// ForgetApp forgets an app's tokens in a tenant, or those of them that cover all scopes.
func (rs *Remover) ForgetApp(ctx context.Context, clientID, tenant string, scopes []string) error {
	r := rs.o.Store.Of(layout.PartitionID(msaldoc.AppKey(clientID, tenant, "")), false)
	if err := rs.Remove(ctx, r, msaldoc.NewScopes(scopes)); err != nil {
		return fmt.Errorf("msalredis: forgetting an app's tokens has not reached Redis and is tried again until it has: %w",
			err)
	}
	return nil
}

// Remove removes a partition, or with only those of its tokens that cover the scopes, and all that was derived from it,
// here and in Redis. After an error it goes on, and is tried again until it is done or the Remover's life ends. The
// errors are Redis's, ctx's and [redisop.ErrClosed].
func (rs *Remover) Remove(ctx context.Context, r *tokenstore.Record, only msaldoc.Scopes) error {
	m := rs.begin(r, only)
	name := "removal " + string(r.ID) + " " + layout.MemberScopes(only)
	tried := make(chan struct{})
	var err error // of the first try, once tried is closed
	waits := &tokenstore.Waiting{Size: waitingSize, Must: r, Push: func(ctx context.Context) error {
		select {
		case <-tried:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err == nil {
			return nil
		}
		return rs.carryOut(ctx, m, false)
	}}
	rs.o.Store.Keep(name, waits)
	if !rs.o.Workers.Run(func() {
		defer close(tried)
		if err = rs.carryOut(rs.o.Life, m, true); err == nil {
			rs.o.Store.Made(name, waits)
		}
	}) {
		return redisop.ErrClosed
	}
	select {
	case <-tried:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (rs *Remover) begin(r *tokenstore.Record, only msaldoc.Scopes) *tokenstore.Removal {
	m := rs.o.Store.BeginRemoval(r, only)
	rs.o.Forget(m.ID, m.Removed(), m.User && len(m.Only) == 0)
	return m
}

// carryOut carries a removal out in Redis, of its own partition and of those that are listed with it.
func (rs *Remover) carryOut(ctx context.Context, m *tokenstore.Removal, first bool) error {
	return rs.visit(ctx, m, first, map[layout.ID]bool{m.ID: true})
}

// visit is carryOut of one partition, and of those listed with it. seen are those that have been visited: names of a
// tenant list each other.
func (rs *Remover) visit(ctx context.Context, m *tokenstore.Removal, first bool, seen map[layout.ID]bool) error {
	done, err := rs.o.Store.Remove(ctx, m, first)
	if err != nil {
		return err
	}
	if m.User && len(m.Only) == 0 && done.Left == 0 {
		if err := rs.unlist(ctx, rs.o.Names.Accounts(), string(m.ID)); err != nil {
			return err
		}
	}
	var gone []any
	for _, text := range done.Listed {
		member, ok := layout.ParseMember(text)
		if len(m.Only) > 0 && member.Scopes != layout.MemberScopes(m.Only) {
			continue
		}
		switch {
		case !ok:
			gone = append(gone, text)
		case member.Kind == layout.MemberAnswer:
			gone = append(gone, text)
			err = rs.o.Store.ForgetAnswer(ctx, member.ID)
		case member.Kind == layout.MemberPartition:
			// It stays listed, and expires: that it is of the same app is as true for what is asked for from now on.
			if !seen[member.ID] && len(seen) < visitedAtMost {
				seen[member.ID] = true
				err = rs.visit(ctx, rs.begin(rs.o.Store.Of(member.ID, false), m.Only), true, seen)
			}
		}
		if err == nil && len(gone) >= unlistedTogether {
			err = rs.unlist(ctx, rs.o.Names.RIDs(m.ID), gone...)
			gone = gone[:0]
		}
		if err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		if err := rs.unlist(ctx, rs.o.Names.RIDs(m.ID), gone...); err != nil {
			return err
		}
	}
	rs.tell(ctx, m.ID, done.Removed)
	return nil
}

// unlist takes members off a list.
func (rs *Remover) unlist(ctx context.Context, list string, members ...any) error {
	return rs.o.Redis.Do(ctx, list, func(ctx context.Context, client redis.UniversalClient) error {
		return redisop.UnlessOfAnotherType(client.ZRem(ctx, list, members...).Err())
	})
}
