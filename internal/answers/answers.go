package answers

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Options are what a Shared is made with; all are needed.
type Options struct {
	Names      layout.Names
	Serializer serializer.Serializer // a panic of it is an error
	Redis      *redisop.Redis
	Store      *tokenstore.Store
	Clock      *redistime.Clock
	Metrics    telemetry.Recorder
	Log        telemetry.Logger
	LocalBytes int64         // of what this process has seen
	LocalTTL   time.Duration // for how long what Redis has confirmed is relied on
}

// Shared are the answers that the fleet shares.
type Shared struct {
	o      Options
	memory *memory
}

// New makes a Shared. It asks Redis nothing.
func New(o Options) *Shared { return &Shared{o, newMemory(o.LocalBytes)} }

// Forget forgets what this process has seen of a partition's answers.
func (s *Shared) Forget(partition layout.ID) { s.memory.forget(partition, s.elapsed()) }

// Size is what this process's memory of answers takes, in bytes.
func (s *Shared) Size() int64 { return int64(s.memory.seen.WeightedSize()) }

// EndPause ends the pause of an identity: Entra ID answers again.
func (s *Shared) EndPause(ctx context.Context, identity layout.ID) {
	s.memory.endPause(identity)
	key := s.o.Names.Pause(identity)
	_ = s.o.Redis.Do(ctx, key, func(ctx context.Context, client redis.UniversalClient) error {
		return client.Del(ctx, key).Err()
	})
}

// Remove removes the answer of an identity, here and in Redis.
func (s *Shared) Remove(ctx context.Context, identity layout.ID) {
	s.memory.remove(identity, s.elapsed())
	_ = s.o.Store.ForgetAnswer(ctx, identity)
	s.memory.remove(identity, s.elapsed()) // what a look has found in between, and has not told of yet
}

// Ended tells whether a removal has ended an answer to a request. nil is none, and has not.
func (s *Shared) Ended(r *Request, a *Answer) bool {
	if a == nil {
		return false
	}
	return s.ended(r, a, r.partitionsOf(a))
}

// ended tells whether a removal of one of the partitions has ended an answer.
func (s *Shared) ended(r *Request, a *Answer, partitions []layout.ID) bool {
	return slices.ContainsFunc(partitions, func(partition layout.ID) bool {
		return s.o.Store.Removed(partition).Ends(a.Asked(), func() string { return layout.HashScopes(r.Scopes) })
	})
}

// elapsed is the time since the process's start, and never 0.
func (s *Shared) elapsed() time.Duration { return max(time.Duration(s.o.Clock.Elapsed()), 1) }
