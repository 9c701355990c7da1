package msalredis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/accessor"
	"github.com/msal-redis/msal-redis-go/internal/gate"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/removal"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// parts are what a Cache is put together of, from the bottom up. Those above know those below. What a part has to say
// to one above goes through a function in its Options:
//
//	redisop     OnBack     Redis is back                        the store pushes what waits
//	tokenstore  AskMend    a record is damaged and not known    the remover asks other instances to mend it
//	tokenstore  OnStored   tokens were stored                   the accessor keeps their account on its list
//	removal     Forget     a partition was removed              the gate and onBehalfOf forget it
//	removal     Missed     messages may have been missed        onBehalfOf forgets everything
//
// Listen, SignOut, Gated and removed go the other way, to a part below or beside, and save an import.
type parts struct {
	redis    *redisop.Redis
	store    *tokenstore.Store
	remover  *removal.Remover
	gate     *gate.Gate
	accessor *accessor.Accessor

	clock     *redistime.Clock
	metrics   telemetry.Recorder
	workers   *workers.Group
	life      context.Context
	end       context.CancelFunc // of life
	opTimeout time.Duration
}

// clocksDiffer is for how long the clock of the Redis server that was ahead of the others counts: longer than a token
// request takes.
const clocksDiffer = 15 * time.Minute

func newParts(
	client redis.UniversalClient, sealer serializer.Serializer, o Options, metrics telemetry.Recorder,
) *parts {
	names, log := layout.Names{Prefix: o.Prefix}, telemetry.NewLogger(o.Logger)
	p := &parts{
		clock: redistime.New(time.Now(), clocksDiffer), metrics: metrics, workers: &workers.Group{}, opTimeout: o.OpTimeout,
	}
	p.life, p.end = context.WithCancel(context.Background())

	p.redis = redisop.New(client, redisop.Options{
		Timeout: o.OpTimeout, LeaseTTL: o.LockTTL, Clock: p.clock, Metrics: metrics, Log: log,
		OnBack: func() { p.store.Nudge() }, Life: p.life, Workers: p.workers,
	})
	p.store = tokenstore.New(tokenstore.Options{
		Names: names, Serializer: sealer, Redis: p.redis, Clock: p.clock, Metrics: metrics, Log: log,
		LocalTTL: o.LocalTTL, UserTTL: o.UserTTL, OpTimeout: o.OpTimeout, LocalBytes: o.LocalBytes,
		AskMend:  func(ctx context.Context, pid layout.ID) { p.remover.AskMend(ctx, pid) },
		OnStored: func(b tokenstore.Batch) { p.accessor.Prolong(b) },
		Life:     p.life, Workers: p.workers,
	})
	onBehalfOf := issued.NewOnBehalfOf(o.LocalBytes, p.store.Removed)
	p.remover = removal.New(removal.Options{
		Names: names, Redis: p.redis, Store: p.store, Clock: p.clock,
		Missed: onBehalfOf.RemoveAll,
		Forget: func(pid layout.ID, removed layout.Tombstone, signedOutHere bool) {
			p.gate.Forget(pid)
			onBehalfOf.Remove(pid, removed, signedOutHere)
		},
		Life: p.life, Workers: p.workers,
	})
	tokens, lineages := issued.NewTokens(p.store, p.clock), issued.NewLineages()
	p.gate = gate.New(gate.Options{
		Name: nameOf(o.Prefix), Names: names, Serializer: sealer, Redis: p.redis, Store: p.store, Clock: p.clock,
		Metrics: metrics, Log: log, Tokens: tokens, Lineages: lineages, OnBehalfOf: onBehalfOf, Listen: p.remover.Listen,
		RefreshAt: o.RefreshAt, LockTTL: o.LockTTL, LocalTTL: o.LocalTTL, FailClosed: o.FailClosed,
		LocalBytes: o.LocalBytes, Life: p.life, Workers: p.workers,
	})
	p.accessor = accessor.New(accessor.Options{
		Names: names, Redis: p.redis, Store: p.store, Clock: p.clock, Metrics: metrics, Log: log,
		Tokens: tokens, Lineages: lineages, OnBehalfOf: onBehalfOf, Listen: p.remover.Listen,
		Gated: p.gate.Used, SignOut: p.remover.SignOut, CallsAtMost: gate.AtMost,
		LocalTTL: o.LocalTTL, UserTTL: o.UserTTL, FailClosed: o.FailClosed, Life: p.life, Workers: p.workers,
	})
	return p
}

// close ends all parts, those above first.
func (p *parts) close() error {
	// One more try, whatever is known: Redis may be back and the probe between two looks.
	p.redis.Breaker.Close()
	flush, cancel := context.WithTimeout(context.Background(), p.opTimeout)
	var beside sync.WaitGroup
	beside.Go(func() { p.store.Push(flush) })
	p.gate.Settle(flush)
	beside.Wait()
	p.store.Push(flush) // what could not be kept meanwhile
	cancel()
	p.end()
	err := p.redis.Close()
	p.workers.Close()
	p.gate.Close()
	p.store.Close()
	return errors.Join(err, p.metrics.Close())
}

// levels are what is measured when metrics are collected.
func (p *parts) levels() telemetry.Levels {
	return telemetry.Levels{
		Lookups:     &p.accessor.Lookups,
		RedisAway:   p.redis.Breaker.IsOpen,
		Partitions:  p.store.Size,
		Answers:     p.gate.AnswersSize,
		Discovery:   p.gate.DocumentsSize,
		Waiting:     p.store.Waiting,
		ClockOffset: p.clock.Offset,
	}
}
