package gate

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// answers are the last answers that this process has seen, for when Redis is away.
type answers struct {
	known bounded.Cache[id, known]
}

// known is what this process knows of a request identity.
type known struct {
	pids   []id
	answer *answer
	pause  *answer // the fleet's
	own    *answer // what this process alone has met
}

// withOwn puts what this process has met by the same base transport in the pause's place, if it stands for longer.
func (k *known) withOwn(r *tokenRequest, own *answer, now redistime.Time) {
	if own != nil && own.by == r.by && now < own.CountsUntil() && (k.pause == nil || k.pause.Until < own.Until) {
		k.pause = own
	}
}

func newAnswers(bytes int64) *answers {
	return &answers{bounded.New(otter.Options[id, known]{
		MaximumWeight: uint64(bytes),
		Weigher: func(_ id, k known) uint32 {
			size := 512
			for _, a := range []*answer{k.answer, k.pause, k.own} {
				if a != nil {
					size += len(a.Body)
				}
			}
			return uint32(size)
		},
	})}
}

func (as *answers) of(rid id) known {
	k, _ := as.known.GetIfPresent(rid)
	return k
}

// put takes in an answer unless a newer one is known.
func (as *answers) put(rid id, pids []id, a *answer) {
	as.known.Compute(rid, func(old known, _ bool) (known, otter.ComputeOp) {
		old.pids = pids
		switch {
		case a.Good:
			if old.answer == nil || old.answer.Stamp <= a.Stamp {
				old.answer = a
			}
			old.pause, old.own = nil, nil
		case a.Own:
			old.own = a
		default:
			old.pause = a
		}
		return old, otter.WriteOp
	})
}

func (as *answers) endPause(rid id) {
	as.known.ComputeIfPresent(rid, func(old known) (known, otter.ComputeOp) {
		old.pause, old.own = nil, nil
		return old, otter.WriteOp
	})
}

// refused takes back an answer that was asked for before what it belongs to was removed.
func (as *answers) refused(rid id, a *answer) {
	as.known.ComputeIfPresent(rid, func(old known) (known, otter.ComputeOp) {
		if old.answer == a {
			old.answer = nil
		}
		return old, otter.WriteOp
	})
}

// forget removes the answers that belong to a partition.
func (as *answers) forget(pid id) {
	for rid, k := range as.known.All() {
		if slices.Contains(k.pids, pid) {
			as.known.Invalidate(rid)
		}
	}
}

// refusalOf is under which identity this process remembers that a credential was refused: the fleet's one pause for the
// identity is that of whoever was refused last.
func refusalOf(rid id, by tokenreq.Credential) id {
	return layout.HashID("refusal", string(rid), by.Exact)
}

// withRefusal puts the refusal of the request's own credential in the place of another's.
func (g *Gate) withRefusal(k *known, r *tokenRequest, rid id, now redistime.Time) {
	own := g.answers.of(refusalOf(rid, r.Credential)).pause
	if own != nil && now < own.Until && (k.pause == nil || k.pause.CredentialRefused()) {
		k.pause = own
	}
}

// look is what is known of a request identity: in Redis, or in this process while Redis is away.
func (g *Gate) look(ctx context.Context, r *tokenRequest, rid id) (k known, now redistime.Time, err error) {
	var found atomic.Pointer[known]
	var told atomic.Int64
	keys := []string{g.o.Names.Response(rid), g.o.Names.Pause(rid)}
	err = g.o.Redis.Run(ctx, layout.LookScript, keys, func(rep redisop.Reply) error {
		if len(rep.Fields) != 2 {
			return redisop.ErrReply
		}
		got := known{pids: r.pids}
		for i, to := range []**answer{&got.answer, &got.pause} {
			if rep.Fields[i] == "" {
				continue
			}
			content, stamp, _, err := layout.Open(g.o.Serializer, keys[i], "", rep.Fields[i])
			var a *answer
			if err == nil {
				a, err = decodeAnswer(content, redistime.Time(stamp))
			}
			if err != nil {
				g.o.Metrics.Unreadable(tokenstore.WhyUnreadable(err))
				g.o.Log.Warn("a stored answer cannot be read and counts as missing", "record", string(rid), "error", err)
				continue
			}
			*to = a
		}
		told.Store(rep.Time.Micros())
		found.Store(&got)
		return nil
	})
	if err != nil {
		k, now = g.answers.of(rid), g.o.Clock.Now()
		g.dropEnded(r, &k)
		k.withOwn(r, k.own, now)
		g.withRefusal(&k, r, rid, now)
		return k, now, err
	}
	k = *found.Load()
	g.dropEnded(r, &k)
	if g.overlay(rid, &k) {
		g.dropEnded(r, &k)
	}
	now = redistime.Time(told.Load())
	k.withOwn(r, g.answers.of(rid).own, now)
	g.withRefusal(&k, r, rid, now)
	return k, now, nil
}

// dropEnded leaves out an answer that a removal has ended, wherever it was found.
func (g *Gate) dropEnded(r *tokenRequest, k *known) {
	if k.answer != nil && g.answerEnded(pidsOf(r, k.answer), r.Scopes, k.answer) {
		k.answer = nil
	}
}

// keepAnswer stores an answer for the fleet: a good one for its token's life, a bad one as a pause. It takes part in
// pending writes; nobody waits for Redis for longer than OpTimeout. An own one stays in this process.
func (g *Gate) keepAnswer(ctx context.Context, r *tokenRequest, rid id, a *answer) {
	pids := pidsOf(r, a)
	if a.Own && !a.Good {
		if a.Until > a.Received {
			g.answers.put(rid, pids, a)
		}
		return
	}
	if a.Good && len(pids) == 0 && r.Kind.Policy().Named {
		// Of a user whom nothing names, and whose sign-out would not find it: whoever asks for it keeps it to himself.
		return
	}
	life := a.CountsUntil().Sub(a.Received)
	key := g.o.Names.Pause(rid)
	if a.Good {
		key = g.o.Names.Response(rid)
		life = a.Expires.Sub(a.Received)
		if handover := r.Kind.Policy().Handover; handover > 0 {
			life = min(life, handover)
		}
		if r.Challenge != "" && rid == r.ID {
			life = min(life, challengeLife)
		}
	}
	if life < time.Millisecond {
		return
	}
	if !a.Good || !g.answerEnded(pids, r.Scopes, a) {
		g.answers.put(rid, pids, a)
	}
	if a.CredentialRefused() {
		g.answers.put(refusalOf(rid, r.Credential), pids, a)
	}
	value, err := g.o.Store.Seal(key, a.Stamp, a.encode(r))
	if err != nil {
		return
	}
	push := func(ctx context.Context) error {
		left := life - max(0, g.o.Clock.Now().Sub(a.Received))
		if left < time.Millisecond || !a.Good && g.answers.of(rid).pause != a {
			return nil // over, or a token has come meanwhile
		}
		if a.Good {
			// Before the answer itself: a removal that comes between must find it.
			if ok, err := g.belongs(ctx, pids, rid, r.Scopes, a.asked(), left); err != nil || !ok {
				if err == nil {
					g.answers.refused(rid, a)
				}
				return err
			}
		}
		keys := []string{key, g.o.Names.Tombstone(rid), g.o.Names.Pause(rid)}
		return g.o.Redis.Run(ctx, layout.RespondScript, keys, func(r redisop.Reply) error {
			if r.Number(0) == -1 {
				g.answers.refused(rid, a)
			}
			return nil
		}, formatInt(a.Started.Micros()), value, formatInt(left.Milliseconds()))
	}
	if err := push(ctx); err != nil {
		g.o.Store.Keep(unsavedName(rid, a.Good), &tokenstore.Waiting{Size: int64(2*len(value)) + 512, Push: push})
	}
}

// pidsOf are the partitions that an answer belongs to.
func pidsOf(r *tokenRequest, a *answer) []id {
	if a != nil && a.Good && r.Kind != tokenreq.App {
		if owners := r.ownersOf(a); len(owners) > 0 {
			return owners
		}
	}
	return r.pids
}

// unsavedName is under which name an answer, or a pause, waits for Redis.
func unsavedName(rid id, good bool) string {
	if good {
		return "answer " + string(rid)
	}
	return "pause " + string(rid)
}

// overlay puts what Redis has not taken yet above what it has: one that is read-only says that there is nothing, and
// goes on saying so after each request. another: that is another answer.
func (g *Gate) overlay(rid id, k *known) (another bool) {
	local := g.answers.of(rid)
	newer := func(a, than *answer) bool { return a != nil && (than == nil || than.Stamp < a.Stamp) }
	if a := local.answer; newer(a, k.answer) && g.o.Store.Waits(unsavedName(rid, true)) {
		k.answer, another = a, true
	}
	if p := local.pause; newer(p, k.pause) && g.o.Store.Waits(unsavedName(rid, false)) {
		k.pause = p
	}
	return another
}

// endPause forgets failures: Entra ID answers again.
func (g *Gate) endPause(ctx context.Context, rid id) {
	g.answers.endPause(rid)
	key := g.o.Names.Pause(rid)
	_ = g.o.Redis.Do(ctx, key, func(ctx context.Context, client redis.UniversalClient) error {
		return client.Del(ctx, key).Err()
	})
}
