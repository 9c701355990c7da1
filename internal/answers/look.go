package answers

import (
	"context"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// Found is what a look finds of an identity.
type Found struct {
	Answer *Answer // a good one, which no removal has ended; nil: none
	Pause  *Answer // the failure or refusal after which nobody should ask yet, unless it is over by now; nil: none
}

// Look is what is known of a request's identity, and Redis's time of the look. On an error of Redis it is what this
// process has seen, and its own estimate of Redis's time.
func (s *Shared) Look(ctx context.Context, r *Request) (Found, redistime.Time, error) {
	at := s.elapsed()
	found, now, err := s.inRedis(ctx, r.ID)
	here := s.memory.of(r.ID)
	if err != nil {
		found, now = Found{here.answer, here.pause}, s.o.Clock.Now()
	}
	s.dropEnded(r, &found)
	if err == nil && r.recalled() {
		s.memory.confirm(r.ID, r.Partitions, found.Answer, at)
	}
	if err == nil && s.putWaiting(&found, r.ID, here) {
		s.dropEnded(r, &found)
	}
	// What this process has met by the same base transport, if it stands for longer than the fleet's pause.
	if own := here.own; own != nil && own.By == r.By && now < own.CountsUntil() &&
		(found.Pause == nil || found.Pause.Until < own.Until) {
		found.Pause = own
	}
	// The refusal of the request's own credential, in the place of another's.
	if refusal := s.memory.of(refusalOf(r.ID, r.Credential)).pause; refusal != nil && now < refusal.Until &&
		(found.Pause == nil || found.Pause.CredentialRefused()) {
		found.Pause = refusal
	}
	return found, now, err
}

// inRedis is what Redis has, and its time.
func (s *Shared) inRedis(ctx context.Context, identity layout.ID) (Found, redistime.Time, error) {
	var found atomic.Pointer[Found]
	var told atomic.Int64
	keys := []string{s.o.Names.Response(identity), s.o.Names.Pause(identity)}
	err := s.o.Redis.Run(ctx, layout.LookScript, keys, func(rep redisop.Reply) error {
		if len(rep.Fields) != 2 {
			return redisop.ErrReply
		}
		told.Store(rep.Time.Micros())
		found.Store(&Found{
			Answer: s.open(keys[0], identity, rep.Fields[0]),
			Pause:  s.open(keys[1], identity, rep.Fields[1]),
		})
		return nil
	})
	if err != nil {
		return Found{}, 0, err
	}
	return *found.Load(), redistime.Time(told.Load()), nil
}

// open opens what stands at a key. nil: nothing, or nothing that can be read.
func (s *Shared) open(key string, identity layout.ID, value string) *Answer {
	if value == "" {
		return nil
	}
	content, stamp, _, err := layout.Open(s.o.Serializer, key, "", value)
	var a *Answer
	if err == nil {
		a, err = decode(content, redistime.Time(stamp))
	}
	if err != nil {
		s.o.Metrics.Unreadable(tokenstore.WhyUnreadable(err))
		s.o.Log.Warn("a stored answer cannot be read and counts as missing", "record", string(identity), "error", err)
		return nil
	}
	return a
}

// dropEnded leaves out an answer that a removal has ended, wherever it was found.
func (s *Shared) dropEnded(r *Request, found *Found) {
	if s.Ended(r, found.Answer) {
		found.Answer = nil
	}
}

// putWaiting puts what Redis has not taken yet above what it has: one that is read-only says that there is nothing, and
// goes on saying so after each request. another: that is another answer.
func (s *Shared) putWaiting(found *Found, identity layout.ID, here seen) (another bool) {
	newer := func(a, than *Answer) bool { return a != nil && (than == nil || than.Stamp < a.Stamp) }
	if a := here.answer; newer(a, found.Answer) && s.o.Store.Waits(waitsAs(identity, true)) {
		found.Answer, another = a, true
	}
	if p := here.pause; newer(p, found.Pause) && s.o.Store.Waits(waitsAs(identity, false)) {
		found.Pause = p
	}
	return another
}

// refusalOf is under which identity this process remembers that a credential was refused: the fleet's one pause for the
// identity is that of whoever was refused last.
func refusalOf(identity layout.ID, by tokenreq.Credential) layout.ID {
	return layout.HashID("refusal", string(identity), by.Exact)
}
