package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is a kind of fault, and what is promised under it.
type kind struct {
	name, what string
	topologies []string // empty: all
	on         string   // what it takes hold of: no two faults have one thing at once
	hold       [2]time.Duration
	// after is for how long after its end its effects may show.
	after time.Duration
	inject

	away      bool // instances may be unable to ask Redis
	full      bool // Redis takes no writes
	loses     bool // records, or the last writes to them, may be gone from Redis
	total     bool // all of them at once
	damages   bool // some users' records are damaged
	rollsBack bool // records may be as they were earlier
	entra     bool // Entra ID may not answer
	sick      bool // it is of one worker, whose own calls may fail; nobody else's
	neighbour bool // drawn from a pack of its own, so that the rest of a seed's schedule does not depend on it
	delays    bool // a refresh may take longer than callers wait for it while an old token lives
	// extra bounds the token requests that one fault costs more, for each token.
	extra func(terms) int
	// fails bounds the requests that Entra ID refuses in one fault of its own, for each user's or app's tokens; while
	// Redis is away, or where unanswered, for each process.
	fails int
	// unanswered: a request that gets no answer tells nothing of Entra ID. Each process learns of it for itself: it tries,
	// once more at once, and once more after its pause of a second.
	unanswered bool
	// slow is how much longer a call may take.
	slow func(terms, injected) time.Duration
}

// inject does it. What it returns undoes it at the end of the time to hold.
type inject func(
	ctx context.Context, s *stage, rng *rand.Rand, f *injected,
) (heal func(context.Context) error, err error)

// Kinds that the checker knows by name.
const (
	kindKill       = "worker killed"
	kindFreeze     = "worker frozen"
	kindBusy       = "(machine busy)"
	kindLostAnswer = "Entra ID's answer lost"
)

// What the faults take hold of.
const (
	onWorker = "worker"
	onRedis  = "redis"
	onNet    = "net"
	onEntra  = "entra"
	onWay    = "way" // of workers to Entra ID and to Redis
)

// Bounds of token requests, for each fault and token.
func none(terms) int { return 0 }

// once: the fleet does not know of a token that it had.
func once(terms) int { return 1 }

// twice: nor of the lease under which another is being fetched.
func twice(terms) int { return 2 }

// each: nobody can tell anybody. A process that is killed meanwhile has a successor.
func each(t terms) int { return t.Workers + 1 }

func noLonger(terms, injected) time.Duration { return 0 }

// oneLease is the wait for a holder that cannot release.
func oneLease(t terms, _ injected) time.Duration { return t.LockTTL }

// operations is a few operations that do not come back, until the breaker opens.
func operations(t terms, _ injected) time.Duration { return 3*t.OpTimeout + t.LockTTL }

// itself is the fault's own time, for what waits for its end.
func itself(_ terms, f injected) time.Duration { return f.End - f.Start + time.Second }

// recovery is the time in which everybody notices that Redis is back: a probe, at worst after a time-out.
const recovery = 3 * time.Second

// refused is the time in which what a Redis that took no writes has refused is written: the writer's pause doubles,
// give or take a half (internal/tokenstore/pending.go). After 2.5 s, as long as such a fault lasts at most, the next
// try may be 3.85 s away: five pauses of half the length, 1.55 s in all, and then one of 3.2 s and a half more.
const refused = 4 * time.Second

func ms(a, b int) [2]time.Duration {
	return [2]time.Duration{time.Duration(a) * time.Millisecond, time.Duration(b) * time.Millisecond}
}

var kinds = []*kind{
	{name: kindKill, what: "SIGKILL; another takes its place", on: onWorker, after: 3 * time.Second,
		extra: once, slow: oneLease, delays: true, inject: killWorker},
	{name: kindFreeze, what: "SIGSTOP for longer than LockTTL", on: onWorker, hold: ms(2500, 3500), after: 3 * time.Second,
		extra: twice, slow: oneLease, delays: true, inject: freezeWorker},

	{name: "Redis restarted", what: "SIGKILL and restart with its data", topologies: []string{topologyStandalone},
		on: onRedis, hold: ms(300, 1500), after: recovery, away: true, extra: each, slow: operations, delays: true,
		inject: restartRedis(false)},
	{name: "Redis restarted empty", what: "SIGKILL and restart without its data",
		topologies: []string{topologyStandalone, topologyCluster}, on: onRedis, hold: ms(300, 1500), after: recovery,
		away: true, loses: true, total: true, extra: each, slow: operations, delays: true, inject: restartRedis(true)},
	{name: "Redis frozen", what: "SIGSTOP", topologies: []string{topologyStandalone, topologyCluster}, on: onRedis,
		hold: ms(500, 3000), after: recovery, away: true, extra: each, slow: operations, delays: true, inject: freezeRedis},
	{name: "Redis full", what: "out of memory, noeviction", on: onRedis, hold: ms(1000, 2500),
		after: refused, full: true, extra: each, slow: noLonger, inject: fillRedis},
	{name: "Redis read-only", what: "as a primary that was demoted", topologies: []string{topologyStandalone}, on: onRedis,
		hold: ms(1000, 2500), after: refused, away: true, full: true, extra: each, slow: noLonger, inject: readOnlyRedis},
	{name: "keys evicted", what: "a tenth of all keys, leases and tombstones too", on: onRedis, after: time.Second,
		loses: true, extra: twice, slow: noLonger, inject: evict},
	{name: "FLUSHALL", what: "everything gone at once", on: onRedis, after: time.Second,
		loses: true, total: true, extra: twice, slow: noLonger, inject: flush},
	{name: "scripts lost", what: "SCRIPT FLUSH: NOSCRIPT", on: onRedis, extra: none, slow: noLonger, inject: loseScripts},
	{name: "values corrupted", what: "bytes of stored values changed", on: onRedis, after: time.Second,
		damages: true, extra: twice, slow: noLonger, inject: corrupt},
	{name: "values swapped", what: "values change places between keys", on: onRedis, after: time.Second,
		damages: true, extra: twice, slow: noLonger, inject: swap},
	{name: "values rolled back", what: "replaced by what they were seconds before", on: onRedis, hold: ms(1500, 4000),
		after: time.Second, damages: true, rollsBack: true, extra: twice, slow: noLonger, inject: rollBack},

	{name: "connections cut", what: "all closed, new ones refused", on: onNet, hold: ms(200, 2000),
		after: recovery, away: true, extra: each, slow: operations, delays: true, inject: cutNet},
	{name: "connections reset", what: "all closed once", on: onNet, after: recovery, away: true, extra: each,
		slow: operations, delays: true, inject: resetNet},
	{name: "connections slow", what: "each answer 100 to 400 ms late", on: onNet, hold: ms(1000, 3000),
		after: recovery, away: true, extra: each, slow: operations, delays: true, inject: delayNet},
	{name: "connections throttled", what: "30 KB/s each", on: onNet, hold: ms(1000, 3000),
		after: recovery, away: true, extra: each, slow: operations, delays: true, inject: throttleNet},
	{name: "connections silent", what: "open, and nothing comes through", on: onNet, hold: ms(500, 2500),
		after: recovery, away: true, extra: each, slow: operations, delays: true, inject: silenceNet},

	{name: "failover", what: "Sentinel promotes the replica", topologies: []string{topologySentinel}, on: onRedis,
		after: recovery, away: true, loses: true, extra: each, slow: operations, delays: true, inject: failover},
	{name: "primary killed", what: "SIGKILL; Sentinel promotes the replica", topologies: []string{topologySentinel},
		on: onRedis, after: recovery, away: true, loses: true, extra: each, slow: operations, delays: true,
		inject: killPrimary},
	{name: "primary frozen", what: "SIGSTOP, Sentinel promotes the replica, SIGCONT",
		topologies: []string{topologySentinel}, on: onRedis, after: recovery, away: true, loses: true, extra: each,
		slow: operations, delays: true, inject: freezePrimary},
	{name: "cluster failover", what: "a replica takes over from its primary", topologies: []string{topologyCluster},
		on: onRedis, after: recovery, away: true, loses: true, extra: each, slow: operations, delays: true,
		inject: clusterFailover},
	{name: "cluster primary killed", what: "SIGKILL; its replica takes over", topologies: []string{topologyCluster},
		on: onRedis, after: recovery, away: true, loses: true, extra: each, slow: operations, delays: true,
		inject: killClusterPrimary},
	{name: "slots migrated", what: "with their keys, from one primary to another", topologies: []string{topologyCluster},
		on: onRedis, after: recovery, away: true, extra: each, slow: operations, delays: true, inject: migrateSlots},

	{name: "Entra ID 429", what: "throttled, Retry-After 2 s", on: onEntra, hold: ms(500, 1500),
		after: 5 * time.Second, entra: true, extra: none, slow: itself, fails: 1, inject: entraSays(429)},
	{name: "Entra ID 503", what: "unavailable", on: onEntra, hold: ms(500, 2000),
		after: 7 * time.Second, entra: true, extra: none, slow: itself, fails: 4, inject: entraSays(503)},
	{name: "Entra ID hangs", what: "answers when it is over", on: onEntra, hold: ms(1000, 3000),
		after: 2 * time.Second, entra: true, extra: none, slow: itself, inject: entraHangs},
	{name: "Entra ID drops", what: "connections closed without an answer", on: onEntra, hold: ms(500, 2000),
		after: 7 * time.Second, entra: true, extra: none, slow: itself, fails: 3, unanswered: true,
		inject: entraDrops(false)},
	{name: kindLostAnswer, what: "the request takes effect, its answer is lost", on: onEntra, hold: ms(500, 1500),
		after: 7 * time.Second, entra: true, extra: none, slow: itself, fails: 3, unanswered: true, inject: entraDrops(true)},

	{name: "egress refused", what: "one worker's requests to Entra ID, as by a firewall", on: onWay, neighbour: true,
		hold: ms(1500, 3000), after: wellAgain, sick: true, extra: once, slow: oneLease, delays: true,
		inject: sicken(egressRefused)},
	{name: "egress hangs", what: "one worker's requests to Entra ID", on: onWay, neighbour: true, hold: ms(8000, 9000),
		after: wellAgain, sick: true, extra: once, slow: oneLease, delays: true, inject: sicken(egressHangs)},
	{name: "proxy in between", what: "one worker's answers HTML, 503, Retry-After an hour, for Entra ID", on: onWay,
		neighbour: true, hold: ms(1500, 3000), after: wellAgain, sick: true, extra: once, slow: oneLease, delays: true,
		inject: sicken(egressProxy)},
	{name: "transport breaks", what: "one worker's panics, or returns no response, or one without a body", on: onWay,
		neighbour: true, hold: ms(500, 1500), after: wellAgain, sick: true, extra: once, slow: oneLease, delays: true,
		inject: sicken(egressPanics, egressNil, egressBodyless)},
	{name: "connections dead", what: "all there are drop without a word, new ones work", on: onWay, neighbour: true,
		after: backAgain, away: true, extra: each, slow: operations, delays: true, inject: deadenNet},
	{name: "burst", what: "every worker asks for the same hundred tokens at once", on: onWay, neighbour: true,
		extra: none, slow: itself, inject: burst},
}

// backAgain is when everybody has to have noticed that connections are dead and others work, however many they are.
const backAgain = 5 * time.Second

// neighboursByDefault has a run inject the faults of neighbours, and mix all kinds of calls, without being told to.
const neighboursByDefault = false

// wellAgain is how long a worker may go on failing after its way to Entra ID is mended: it pauses after several
// failures in a row.
const wellAgain = 10 * time.Second

// busy is no fault that is injected: a process was not given a processor for a quarter of a second, or Redis's answer
// did not come in time, while no fault explains it. What it excuses is shown in a row of its own, empty on an idle
// machine.
var busy = &kind{name: kindBusy, after: 3 * time.Second, away: true, delays: true, extra: each,
	slow: func(t terms, f injected) time.Duration { return f.End - f.Start + t.OpTimeout }}

func kindNamed(name string) *kind {
	if name == kindBusy {
		return busy
	}
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// over is when a fault has taken what it takes: a primary that was given up takes writes until it hears of it.
func (f injected) over() time.Duration {
	if k := kindNamed(f.Kind); k.away && k.loses {
		return f.End + k.after
	}
	return f.End
}

func (k *kind) in(topology string) bool {
	return len(k.topologies) == 0 || slices.Contains(k.topologies, topology)
}
