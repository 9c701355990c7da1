package msalredis

import (
	"context"
	"net/url"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// owned is the source of answers to refresh_token requests of an account: its partition. One lease serves all
// clients and scopes of it, because two scopes at once must not redeem one refresh token twice, and clients of a
// family share theirs.
type owned struct {
	*leader
	p    *partition
	snap *snapshot
	sent string
	used int64 // the stamp of the refresh token that was sent
	// session is that of the token that was sent, not of what the record has when its successor is stored.
	session int64
}

func (o *owned) lease() id { return o.p.pid }

func (o *owned) look(ctx context.Context) (f finding, err error) {
	c := o.c
	s, err := c.partitions.reload(ctx, o.p)
	us := c.clock.Now().Micros()
	if o.arrived == 0 {
		o.arrived = us - time.Since(o.begun).Microseconds()
	}
	o.snap = s
	if s != nil && o.r.Challenge == "" {
		if at, ok := s.match(o.r, us); ok {
			a := s.answerFrom(at, us)
			// MSAL stores what it is given, also the old token once more: after a sign-out it is one of before.
			if from, known := c.origins.of(at.Secret); !known || from.fresh {
				c.origins.note(a, origin{known: s.generation, session: at.session, Terms: o.r.Terms})
			}
			switch {
			case a.Usable(us):
				f.answer, f.due = a, a.Due > 0 && us >= a.Due
				if !f.due {
					return f, err
				}
			case a.Alive(us):
				f.old = a
			}
		}
	}
	// What the record does not tell is kept by identity: a challenge's answer, a special one, refusals.
	k, us, err2 := c.look(ctx, o.r, o.r.ID)
	if err == nil {
		err = err2
	}
	if a := k.answer; a != nil && a.Good {
		if _, known := c.origins.of(a.Member("refresh_token")); !known {
			c.origins.note(a, origin{known: a.Started, session: o.session, Terms: o.r.Terms})
		}
	}
	switch a := k.answer; {
	case o.r.Challenge != "":
		if a != nil && a.Good && a.Received >= o.arrived {
			f.answer = a
		}
	case o.r.Special && a.Usable(us):
		f.answer, f.due = a, a.Due > 0 && us >= a.Due
	case o.r.Special && a.Alive(us):
		f.old = a
	}
	// A refusal is of one refresh token: after another sign-in there is another one.
	rt, _ := s.refreshToken(o.r)
	f.heed(o.r, k.pause, us, func(p *answer) bool {
		return p.Received >= o.arrived || p.Of == tokenreq.HashSecret(rt.Secret).String()
	})
	return f, err
}

// form puts the newest refresh token into the request: MSAL's may have been redeemed by another instance since it
// was read.
func (o *owned) form() (url.Values, *answer) {
	form := url.Values{}
	for k, v := range o.r.Form {
		form[k] = v
	}
	o.used, o.session = 0, 0
	if rt, ok := o.snap.refreshToken(o.r); ok {
		o.used, o.session = rt.stamp, rt.session
		form.Set("refresh_token", rt.Secret)
	} else if o.snap != nil && o.snap.generation > 0 {
		return nil, signedOut(o.c.clock.Now().Micros())
	}
	o.sent = form.Get("refresh_token")
	if o.session == 0 {
		from, _ := o.c.origins.of(o.sent)
		o.session = from.session
	}
	return form, nil
}

func (o *owned) moved(ctx context.Context, sent url.Values) bool {
	s, err := o.c.partitions.reload(ctx, o.p)
	if err != nil {
		return false
	}
	o.snap = s
	rt, ok := s.refreshToken(o.r)
	return ok && rt.Secret != sent.Get("refresh_token")
}

func (o *owned) keep(ctx context.Context, a *answer) {
	c := o.c
	if !a.Good {
		a.Of = tokenreq.HashSecret(o.sent).String()
		if a.CredentialRefused() {
			a.Of = o.r.Credential.Exact
		}
		c.keepAnswer(ctx, o.r, o.r.ID, a)
		return
	}
	known := int64(0)
	if o.snap != nil {
		known = o.snap.generation
	}
	// Newer than the token it was brought with: one of a sign-in since the lease was taken has a later stamp than the fence, and
	// its successor would be thrown away.
	a.Stamp = max(a.Stamp, o.used+1)
	c.origins.note(a, origin{known: known, session: o.session, Terms: o.r.Terms})
	a.NameUser(o.r.Lineage.Account)
	entries := c.entriesOf(o.r, a, o.snap, o.session)
	for _, e := range entries {
		c.lineages.learn(e.Entry)
	}
	// An error leaves them to be pushed later.
	_, _ = c.write(ctx, batch{p: o.p, entries: entries, known: known})
	if o.r.Challenge != "" || o.r.Special {
		c.keepAnswer(ctx, o.r, o.r.ID, a)
	}
}
