package gate

import (
	"cmp"
	"context"
	"net/url"
	"sync"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// recordSource is the source of answers to refresh_token requests of an account: its partition. One lease serves all
// clients and scopes of it, because two scopes at once must not redeem one refresh token twice, and clients of a
// family share theirs.
type recordSource struct {
	g *Gate
	r *tokenRequest
	// arrived is when the caller came for whom a leader begins. It is the time of the leader's first look, which Redis
	// tells and which is a little later: what was received before the caller came must not pass for an answer to his
	// challenge.
	arrived redistime.Time
	p       *tokenstore.Record
	snap    *record.Snapshot
	sent    string
	used    redistime.Time // the stamp of the refresh token that was sent
	// session is that of the token that was sent, not of what the record has when its successor is stored.
	session redistime.Time
}

func (o *recordSource) lease() id { return o.p.ID }

func (o *recordSource) look(ctx context.Context) (f finding, err error) {
	g := o.g
	// What the record does not tell is kept by identity: a challenge's answer, a special one, refusals.
	var kept answers.Found
	var keptAsOf redistime.Time
	var keptErr error
	var beside sync.WaitGroup
	beside.Go(func() { kept, keptAsOf, keptErr = g.answers.Look(ctx, &o.r.Request) })
	err = g.o.Store.Reload(ctx, o.p)
	beside.Wait()
	if g.answers.Ended(&o.r.Request, kept.Answer) { // the record may have told of a removal
		kept.Answer = nil
	}
	if err == nil {
		f.at = o.p.AsOf() // by the node that orders its entries, which may not be that of the answers
	}
	if kept.Answer != nil {
		f.stamp = kept.Answer.Stamp
	}
	o.snap = o.p.Known().Snapshot
	now := g.o.Clock.Now()
	o.arrived = cmp.Or(o.arrived, keptAsOf)
	if o.findInRecord(&f, now); f.answer != nil && !f.due {
		return f, err
	}
	if err == nil {
		err = keptErr
	}
	o.findByIdentity(&f, kept.Answer, keptAsOf)
	// A refusal is of one refresh token: after another sign-in there is another one.
	rt, _ := refreshToken(o.snap, o.r)
	f.pauseBy(o.r, kept.Pause, keptAsOf, func(p *answers.Answer) bool {
		return p.Received >= o.arrived || p.Of == tokenreq.HashSecret(rt.Secret).String()
	})
	return f, err
}

// findInRecord finds an access token of the record. None answers a challenge.
func (o *recordSource) findInRecord(f *finding, now redistime.Time) {
	if o.snap == nil || o.r.Challenge != "" {
		return
	}
	at, ok := match(o.snap, o.r, now)
	if !ok {
		return
	}
	a := answerFrom(o.snap, at, now)
	// MSAL stores what it is given, also the old token once more: after a sign-out it is one of before.
	if _, known := o.g.o.Tokens.Of(at.Secret); !known {
		o.g.o.Tokens.Note(a.Answer, issued.Token{Session: at.Session, Terms: o.r.Terms})
	}
	switch {
	case a.Usable(now):
		f.answer, f.due = a, at.IsDue(now)
	case a.Alive(now):
		f.old = a
	}
}

// findByIdentity finds the answer to a challenge or a special request. nil: none is kept.
func (o *recordSource) findByIdentity(f *finding, a *answers.Answer, now redistime.Time) {
	if a != nil && a.Good {
		if _, known := o.g.o.Tokens.Of(a.Member("refresh_token")); !known {
			o.g.o.Tokens.Note(a.Answer, issued.Token{Session: cmp.Or(o.session, a.Started), Terms: o.r.Terms})
		}
	}
	switch {
	case o.r.Challenge != "":
		if a != nil && a.Good && a.Received >= o.arrived {
			f.answer = a
		}
	case o.r.Special && a.Usable(now):
		f.answer, f.due = a, a.IsDue(now)
	case o.r.Special && a.Alive(now):
		f.old = a
	}
}

// form puts the newest refresh token into the request: MSAL's may have been redeemed by another instance since it
// was read.
func (o *recordSource) form() (url.Values, *answers.Answer) {
	form := url.Values{}
	for k, v := range o.r.Form {
		form[k] = v
	}
	o.used, o.session = 0, 0
	if rt, ok := refreshToken(o.snap, o.r); ok {
		o.used, o.session = rt.Stamp, rt.Session
		form.Set("refresh_token", rt.Secret)
	} else {
		from, _ := o.g.o.Tokens.Of(form.Get("refresh_token"))
		o.session = o.g.o.Tokens.Session(from)
		if o.g.o.Store.Ended(o.p.ID, from.Session, from.Began) {
			return nil, signedOut(o.g.o.Clock.Now())
		}
	}
	o.sent = form.Get("refresh_token")
	return form, nil
}

func (o *recordSource) moved(ctx context.Context, sent url.Values) bool {
	if o.g.o.Store.Reload(ctx, o.p) != nil {
		return false
	}
	s := o.p.Known().Snapshot
	o.snap = s
	rt, ok := refreshToken(s, o.r)
	return ok && rt.Secret != sent.Get("refresh_token")
}

func (o *recordSource) keep(ctx context.Context, a *answers.Answer) {
	g := o.g
	if !a.Good {
		a.Of = tokenreq.HashSecret(o.sent).String()
		if a.CredentialRefused() {
			a.Of = o.r.Credential.Exact
		}
		g.answers.Keep(ctx, &o.r.Request, o.r.ID, a)
		return
	}
	// Newer than the token it was brought with: where Redis's clock has gone back, its successor would be thrown
	// away.
	a.Stamp = max(a.Stamp, o.used+1)
	if o.session == 0 { // of a refresh token that nothing is known of
		o.session = a.Started
	}
	a.Session = min(o.session, a.Started) // where one of Redis's clocks is ahead, that is too late
	g.o.Tokens.Note(a.Answer, issued.Token{Session: o.session, Terms: o.r.Terms})
	a.NameUser(o.r.Lineage.Account)
	entries := entriesOf(o.r, a, o.snap, o.session)
	for _, e := range entries {
		g.o.Lineages.Learn(e.Entry)
	}
	// An error leaves them to be pushed later.
	_, _ = g.o.Store.Write(ctx, tokenstore.Batch{Record: o.p, Entries: entries})
	if o.r.Challenge != "" || o.r.Special {
		g.answers.Keep(ctx, &o.r.Request, o.r.ID, a)
	}
}
