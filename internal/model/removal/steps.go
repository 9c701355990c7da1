package removal

import (
	"fmt"

	"github.com/msal-redis/msal-redis-go/internal/model"
)

// stepper gives the steps of one state.
type stepper struct {
	r    Rules
	b    Bounds
	s    State
	emit model.Emit[State]
}

// step takes one step on a copy of the state.
func (x *stepper) step(do func(w *run), format string, args ...any) {
	w := run{r: x.r, b: x.b, s: x.s}
	do(&w)
	x.emit(w.s, w.broken, func() string { return fmt.Sprintf(format, args...) })
}

// steps are all that can be taken from a state.
func steps(r Rules, b Bounds, s State, emit model.Emit[State]) {
	x := stepper{r, b, s, emit}
	x.world()
	for i := range int(b.Instances) {
		x.network(i)
		x.looks(i)
		x.signOuts(i)
		x.signIns(i)
		x.refreshes(i)
		x.answers(i)
	}
}

// world is time, and what befalls Redis.
func (x *stepper) world() {
	s, b := &x.s, x.b
	if s.ticks < b.Ticks {
		x.step(func(w *run) { w.s.ticks++; w.s.now++ }, "time passes: %d", s.now+1)
	}
	if b.ClockBack > 0 && !s.overtaken {
		x.step(func(w *run) { w.s.overtaken, w.s.now = true, s.now-b.ClockBack }, "Redis's clock goes back to %d", s.now-b.ClockBack)
	}
	if b.Loss && !s.lost {
		x.step(func(w *run) {
			w.s.lost, w.s.record, w.s.tombstone, w.s.answer, w.s.holder = true, token{}, mark{}, answer{}, 0
			w.forgetsRemovals()
			w.excuse()
		}, "Redis loses everything")
	}
	if b.Evict && !s.evicted {
		x.step(func(w *run) {
			w.s.evicted, w.s.record = true, token{}
			w.excuse()
		}, "Redis evicts the record")
		x.step(func(w *run) {
			w.s.evicted, w.s.tombstone = true, mark{}
			w.forgetsRemovals()
		}, "Redis evicts the tombstone")
	}
	if b.Aging && !s.aged && s.quiet(b) {
		x.step(func(w *run) { w.age() }, "more than a tombstone's life passes")
	}
	if s.late.state != none {
		x.step(func(w *run) {
			w.s.late = signOut{}
			w.signOut(s.late, true)
		}, "Redis carries out the sign-out that was given up")
	}
	if s.holder != 0 && (b.LeaseEnds && !s.ended || s.instances[s.holder-1].phase == idle) {
		x.step(func(w *run) {
			w.s.ended = s.ended || s.instances[s.holder-1].phase != idle
			w.s.holder = 0
		}, "the lease of %d ends", s.holder)
	}
}

// forgetsRemovals is of a Redis that has lost the tombstone. What it knew is not promised of it any more.
func (w *run) forgetsRemovals() {
	if !w.b.Strict {
		w.s.knows = 0
	}
}

// quiet tells whether nothing is under way that would not last for hours.
func (s *State) quiet(b Bounds) bool {
	for i := range int(b.Instances) {
		if me := &s.instances[i]; me.underWay() || me.out.state == trying {
			return false
		}
	}
	return s.late.state == none
}

// age lets a tombstone's life pass: it goes, leases and answers too.
func (w *run) age() {
	s := &w.s
	s.aged, s.tombstone, s.holder = true, mark{}, 0
	if w.r.has(OutlivesAnswers) {
		s.answer = answer{}
	}
	for i := range int(w.b.Instances) {
		me := &s.instances[i]
		me.message, me.told = mark{}, 0
		for _, t := range []*token{&me.held, &me.waits, &me.msal} {
			t.aged = t.signIn != 0
		}
		if w.r.has(OutlivesAnswers) {
			me.answer = answer{}
		}
	}
	w.excuse()
}

// network is an instance's connection, the messages that reach it, and its end.
func (x *stepper) network(i int) {
	s, b, me := &x.s, x.b, &x.s.instances[i]
	switch {
	case me.cutOff:
		x.step(func(w *run) { w.s.instances[i].cutOff = false }, "%d: reaches Redis again", i+1)
	case s.cuts < b.Cuts:
		x.step(func(w *run) { w.s.instances[i].cutOff = true; w.s.cuts++ }, "%d: is cut off from Redis", i+1)
	}
	if me.message.t != 0 && !me.cutOff {
		x.step(func(w *run) {
			you := &w.s.instances[i]
			you.message, you.told = mark{}, 0
			w.hear(i, me.message, me.told)
		}, "%d: hears of the removal as of %d", i+1, me.message.t)
	}
	if b.Crash && !s.crashed {
		x.step(func(w *run) {
			w.s.crashed = true
			w.s.instances[i] = instance{}
			w.excuse()
		}, "%d: is killed, and starts anew", i+1)
	}
}

// looks are loads of the record.
func (x *stepper) looks(i int) {
	me := &x.s.instances[i]
	switch {
	case me.look.underway:
		x.step(func(w *run) { w.takeIn(i) }, "%d: has the answer to its look", i+1)
	case me.cutOff:
	case x.b.SlowLooks:
		x.step(func(w *run) { w.ask(i) }, "%d: a look is carried out, and its answer is on its way", i+1)
	default:
		x.step(func(w *run) { w.lookNow(i) }, "%d: looks", i+1)
	}
}

// signOuts are their asking, tries and retries.
func (x *stepper) signOuts(i int) {
	s, b, me := &x.s, x.b, &x.s.instances[i]
	if s.signOuts < b.SignOuts && me.out.state != trying {
		for _, estimate := range x.run().estimates(i) {
			x.step(func(w *run) { w.askSignOut(i, estimate) }, "%d: is asked for a sign-out, as of %d by its clock", i+1, estimate)
		}
	}
	if me.out.state == trying {
		if !me.cutOff {
			x.step(func(w *run) { w.signsOut(i, true, false) }, "%d: Redis takes the sign-out", i+1)
			if b.Late {
				x.step(func(w *run) { w.signsOut(i, true, true) }, "%d: Redis takes the sign-out, and its answer is lost", i+1)
			}
		}
		if b.Late || me.cutOff {
			x.step(func(w *run) { w.failed(i) }, "%d: Redis refuses the sign-out, which waits", i+1)
		}
		if b.Late && s.late.state == none && s.now >= me.out.at+b.timeout() {
			x.step(func(w *run) {
				w.failed(i)
				w.s.late = w.s.instances[i].out
			}, "%d: the sign-out has no answer in time, and waits; its try is on its way still", i+1)
		}
	}
	if me.out.state == waiting && !me.cutOff {
		x.step(func(w *run) { w.signsOut(i, false, false) }, "%d: Redis takes the sign-out when it is tried again", i+1)
	}
}

func (x *stepper) run() *run { return &run{r: x.r, b: x.b, s: x.s} }

// failed keeps a sign-out to be tried again.
func (w *run) failed(i int) {
	me := &w.s.instances[i]
	me.out.removes = w.unsure(me.out)
	me.out.near, me.out.state = 0, waiting
}

// askSignOut asks an instance for a sign-out: it forgets at once.
func (w *run) askSignOut(i int, estimate micros) {
	s := &w.s
	me := &s.instances[i]
	out := signOut{state: trying, asked: estimate, at: s.now, t: w.given(i, estimate)}
	if w.r.has(TAboveCaller) {
		out.least = me.issued + 1
		for _, t := range []token{me.held, me.waits, me.msal} {
			out.least = max(out.least, t.session+1)
		}
		for _, a := range []answer{me.answer, me.asking} {
			out.least = max(out.least, a.asked+1)
		}
		out.t = max(out.t, out.least)
	}
	covers := func(n int8, mine bool) {
		if !mine && w.b.distance() > 0 && s.now-s.asked[n] <= w.b.distance() {
			if !s.drawn.has(n) {
				if !s.dead.has(n) {
					s.either |= only(n)
				}
				return
			}
			out.near |= only(n)
		}
		out.removes |= only(n)
		s.dead |= only(n)
		s.either &^= only(n)
	}
	for n := int8(1); n <= s.signIns; n++ {
		covers(n, me.holds(n))
	}
	for n := int8(firstAnswer); n < firstAnswer+s.answers; n++ {
		covers(n, me.answer.number == n || me.asking.number == n)
	}
	me.out = out
	s.signOuts++
	s.lastSignOut = s.now
	s.now++
	if w.r.has(NeverBack) {
		me.latest = max(me.latest, out.t)
	}
	w.purge(i, true)
}

// signsOut is a try that Redis takes.
func (w *run) signsOut(i int, first, answerLost bool) {
	me := &w.s.instances[i]
	w.signOut(me.out, first)
	w.s.now++
	if answerLost {
		me.out.state = waiting
		return
	}
	me.out = signOut{}
	me.latest = max(me.latest, w.s.now-1)
	w.hear(i, w.s.tombstone, w.s.knows)
	w.tell(i)
}

// underWay tells whether a sign-out is being tried for the first time: a sign-in then may be before or after it.
func (s *State) underWay(b Bounds) bool {
	for i := range int(b.Instances) {
		if s.instances[i].out.state == trying {
			return true
		}
	}
	return false
}

// begins notes that a sign-in or an answer is asked for.
func (w *run) begins(i int, n int8, estimated bool) {
	s := &w.s
	s.asked[n] = s.now
	near := func(t micros) bool { return t != 0 && w.b.distance() > 0 && s.now-t <= w.b.distance() }
	latest := max(s.tombstone.t, s.late.t)
	for j := range int(w.b.Instances) {
		latest = max(latest, s.instances[j].known.t, s.instances[j].out.t)
	}
	me := &s.instances[i]
	unknown := max(me.known.t, me.out.t) < latest || s.dead&^me.knowsRemoved() != 0
	if !estimated {
		s.drawn |= only(n)
	}
	if s.underWay(w.b) || unknown && (near(s.lastEstimated) || estimated && near(s.lastSignOut)) {
		s.either |= only(n)
	}
	s.now++
}

// draw gives a session or the time of asking, and how it was drawn: 0 by an estimate.
func (w *run) draw(i int, estimate micros) (t, drawn micros) {
	me := &w.s.instances[i]
	t = estimate
	if w.r.has(SessionFromRedis) && !me.cutOff {
		t, drawn = w.s.now, w.s.now
	}
	t = w.given(i, t)
	me.issued = max(me.issued, t)
	return t, drawn
}

// estimated tells whether a time need not be exact: Redis cannot be asked, or a drawn time was raised by what Redis does not know.
func (w *run) estimated(i int, t micros) bool {
	return w.s.instances[i].cutOff || t > max(w.s.now, w.s.tombstone.t)
}

// clocks are the estimates that make a difference to a draw.
func (x *stepper) clocks(i int) []micros {
	if x.r.has(SessionFromRedis) && !x.s.instances[i].cutOff {
		return []micros{x.s.now}
	}
	return x.run().estimates(i)
}

// signIns are their asking and their answers.
func (x *stepper) signIns(i int) {
	s, b, me := &x.s, x.b, &x.s.instances[i]
	if s.signIns < b.SignIns && me.signing.signIn == 0 {
		for _, estimate := range x.clocks(i) {
			x.step(func(w *run) {
				you := &w.s.instances[i]
				w.s.signIns++
				n := w.s.signIns
				session, drawn := w.draw(i, estimate)
				w.s.sessions[n] = session
				you.signing = token{signIn: n, session: session, stamp: estimate, drawn: drawn}
				w.begins(i, n, w.estimated(i, session))
			}, "%d: sign-in %d is sent, at %d", i+1, s.signIns+1, estimate)
		}
	}
	if me.signing.signIn == 0 {
		return
	}
	answered := func(w *run) { w.s.instances[i].signing = token{} }
	x.step(func(w *run) {
		answered(w)
		w.s.answered |= only(me.signing.signIn)
		w.arrive(i, me.signing)
	}, "%d: sign-in %d is answered, and kept (session %d)", i+1, me.signing.signIn, me.signing.session)
	if b.Declined {
		x.step(func(w *run) {
			answered(w)
			t, ok := w.counts(i, me.signing)
			t.drawn = 0
			if !w.r.has(EmptyArrivals) || ok {
				w.s.instances[i].msal = t
			}
		}, "%d: sign-in %d is answered, and stays in MSAL's memory (session %d)", i+1, me.signing.signIn, me.signing.session)
	}
}

// refreshes are of the user's token: one at a time by the lease, as long as that lasts.
func (x *stepper) refreshes(i int) {
	s, b, me := &x.s, x.b, &x.s.instances[i]
	if me.phase == idle && s.refreshes < b.Refreshes && (me.cutOff || s.holder == 0 && !me.look.underway) {
		x.beginRefresh(i)
	}
	switch me.phase {
	case refreshing:
		if b.Rotate && me.flow.use < s.uses[me.flow.signIn] {
			x.step(func(w *run) { w.endRefresh(i) }, "%d: Entra ID refuses the spent token", i+1)
			break
		}
		x.step(func(w *run) {
			you := &w.s.instances[i]
			w.s.uses[me.flow.signIn]++
			you.phase = refreshed
			you.flow.use = w.s.uses[me.flow.signIn]
		}, "%d: Entra ID answers the refresh (sign-in %d, use %d)", i+1, me.flow.signIn, s.uses[me.flow.signIn]+1)
	case refreshed:
		x.step(func(w *run) {
			t := me.flow
			if !w.r.has(SessionOfSent) && s.record.signIn != 0 {
				t.session = s.record.session
			}
			w.endRefresh(i)
			if me.msal.signIn == t.signIn {
				w.s.instances[i].msal = token{}
			}
			w.arrive(i, t)
		}, "%d: the refreshed token of sign-in %d is kept", i+1, me.flow.signIn)
	}
}

// beginRefresh looks, takes the lease, and takes the token that is to be sent.
func (x *stepper) beginRefresh(i int) {
	w := x.run()
	if !x.s.instances[i].cutOff {
		w.lookNow(i)
		w.s.holder = int8(i + 1)
	}
	me := &w.s.instances[i]
	sent := me.held
	if sent.signIn == 0 {
		sent = me.msal
		if sent.signIn != 0 && !w.r.has(SecretKnown) {
			sent.session = w.given(i, w.s.now)
		}
	}
	if sent.signIn == 0 {
		return
	}
	w.s.refreshes++
	me.phase = refreshing
	me.flow = sent
	me.flow.drawn = 0
	me.flow.aged = sent.aged && w.r.has(AgePassesOn)
	me.flow.stamp = max(w.s.now, sent.stamp+1)
	x.emit(w.s, w.broken, func() string {
		return fmt.Sprintf("%d: a refresh begins with the token of sign-in %d, use %d", i+1, sent.signIn, sent.use)
	})
}

func (w *run) endRefresh(i int) {
	me := &w.s.instances[i]
	me.phase, me.flow = idle, token{}
	if w.s.holder == int8(i+1) {
		w.s.holder = 0
	}
}

// answers are of an app, or on behalf of the user, under a key of their own, which no script sees beside the tombstone.
func (x *stepper) answers(i int) {
	s, b, me := &x.s, x.b, &x.s.instances[i]
	if s.answers < b.Answers && me.asking.number == 0 {
		for _, estimate := range x.clocks(i) {
			x.step(func(w *run) {
				you := &w.s.instances[i]
				asked, _ := w.draw(i, estimate)
				you.asking = answer{firstAnswer + s.answers, asked}
				w.s.answers++
				w.begins(i, you.asking.number, w.estimated(i, asked))
			}, "%d: an answer is asked for, at %d", i+1, estimate)
		}
	}
	if me.asking.number != 0 {
		x.step(func(w *run) {
			you := &w.s.instances[i]
			you.asking = answer{}
			w.use(i, me.asking)
			if !me.cutOff && me.asking.asked > s.answer.asked {
				w.s.answer = me.asking
			}
		}, "%d: the answer that was asked for at %d comes, and is kept", i+1, me.asking.asked)
	}
	if !me.cutOff && s.answer.number != 0 {
		x.step(func(w *run) {
			m := s.tombstone
			if !w.r.has(AnswerLooksAtOwner) {
				m = mark{}
			}
			w.reached(i)
			w.hear(i, m, s.knows)
			w.use(i, s.answer)
		}, "%d: finds the answer in Redis", i+1)
	}
}

// use takes an answer into an instance's memory, from where it serves.
func (w *run) use(i int, a answer) {
	me := &w.s.instances[i]
	if (!w.r.has(CountAnswers) || me.answerCounts(a)) && a.asked >= me.answer.asked {
		me.answer = a
	}
}
