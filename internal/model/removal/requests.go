package removal

import "fmt"

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

// answers are of an app, or on behalf of the user, under a key of their own, which no script sees beside the
// tombstone.
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
