package answers

import (
	"context"
	"strconv"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// challengeLife is how long concurrent requests may share the answer to a claims challenge.
const challengeLife = 5 * time.Second

// Keep stores an answer for the fleet: a good one for its token's life, a bad one as a pause. It takes part in
// pending writes; nobody waits for Redis for longer than OpTimeout. An own one stays in this process.
func (s *Shared) Keep(ctx context.Context, r *Request, identity layout.ID, a *Answer) {
	partitions := r.partitionsOf(a)
	if a.Own && !a.Good {
		if a.Until > a.Received {
			s.memory.put(identity, partitions, a)
		}
		return
	}
	if a.Good && len(partitions) == 0 && r.Kind.Policy().Named {
		// Of a user whom nothing names, and whose sign-out would not find it: whoever asks for it keeps it to himself.
		return
	}
	w := &write{Shared: s, r: r, identity: identity, partitions: partitions, a: a, life: lifeOf(r, identity, a)}
	if w.life < time.Millisecond {
		return
	}
	if !a.Good || !s.Ended(r, a) {
		s.memory.put(identity, partitions, a)
	}
	if a.CredentialRefused() {
		s.memory.put(refusalOf(identity, r.Credential), partitions, a)
	}
	w.key = s.o.Names.Pause(identity)
	if a.Good {
		w.key = s.o.Names.Response(identity)
	}
	var err error
	if w.value, err = s.o.Store.Seal(w.key, a.Stamp, a.encode(r)); err != nil {
		return
	}
	if err := w.push(ctx); err != nil {
		s.o.Store.Keep(waitsAs(identity, a.Good), &tokenstore.Waiting{Size: int64(2*len(w.value)) + 512, Push: w.push})
	}
}

// lifeOf is for how long an answer is kept.
func lifeOf(r *Request, identity layout.ID, a *Answer) time.Duration {
	if !a.Good {
		return a.CountsUntil().Sub(a.Received)
	}
	life := a.Expires.Sub(a.Received)
	if handover := r.Kind.Policy().Handover; handover > 0 {
		life = min(life, handover)
	}
	if r.Challenge != "" && identity == r.ID {
		life = min(life, challengeLife)
	}
	return life
}

// write is an answer on its way to Redis.
type write struct {
	*Shared
	r          *Request
	identity   layout.ID
	partitions []layout.ID
	a          *Answer
	life       time.Duration // since the answer was received
	key, value string
}

// push writes it, unless it is over. An error: Redis has not taken it.
func (w *write) push(ctx context.Context) error {
	at := w.elapsed()
	left := w.life - max(0, w.o.Clock.Now().Sub(w.a.Received))
	if left < time.Millisecond || !w.a.Good && w.memory.of(w.identity).pause != w.a {
		return nil // over, or a token has come meanwhile
	}
	if w.a.Good {
		// Before the answer itself: a removal that comes between must find it.
		if ok, err := w.list(ctx, left); err != nil || !ok {
			if err == nil {
				w.memory.takeBack(w.identity, w.a)
			}
			return err
		}
	}
	keys := []string{w.key, w.o.Names.Tombstone(w.identity), w.o.Names.Pause(w.identity)}
	return w.o.Redis.Run(ctx, layout.RespondScript, keys, func(r redisop.Reply) error {
		switch r.Number(0) {
		case -1:
			w.memory.takeBack(w.identity, w.a)
		case 1:
			w.memory.kept(w.identity, w.a, at)
		}
		return nil
	}, strconv.FormatInt(w.a.Started.Micros(), 10), w.value, strconv.FormatInt(left.Milliseconds(), 10))
}

// waitsAs is under which name an answer, or a pause, waits for Redis.
func waitsAs(identity layout.ID, good bool) string {
	if good {
		return "answer " + string(identity)
	}
	return "pause " + string(identity)
}
