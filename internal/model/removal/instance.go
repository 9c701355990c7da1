package removal

// hear lets an instance learn of a removal.
func (w *run) hear(i int, m mark, knows set) {
	me := &w.s.instances[i]
	me.knows |= knows
	rises := m.t > me.known.t
	me.known = merge(me.known, m)
	if w.r.has(NeverBack) {
		me.latest = max(me.latest, m.t)
	}
	w.purge(i, rises)
}

// counts tells whether a token counts here, and gives it as it does: its session is not before that of the
// instance's own sign-out under way, and not before what is known of the tombstone.
func (w *run) counts(i int, t token) (token, bool) {
	me := &w.s.instances[i]
	if t.session < me.out.t {
		return t, false
	}
	t = w.lift(t, me.known)
	return t, t.counts(me.known)
}

// answerCounts is counts of an answer.
func (me *instance) answerCounts(a answer) bool {
	return a.asked >= me.out.t && a.counts(me.known)
}

// purge leaves out what does not count any more.
func (w *run) purge(i int, rises bool) {
	me := &w.s.instances[i]
	ok := false
	if w.r.has(CountHeld) && me.held.signIn != 0 {
		if me.held, ok = w.counts(i, me.held); !ok {
			me.held, me.confirmed = w.drop(me.held), false
		}
	}
	if w.r.has(CountWaiting) && me.waits.signIn != 0 {
		if me.waits, ok = w.counts(i, me.waits); !ok {
			me.waits = w.drop(me.waits)
		}
	}
	if rises && w.r.has(EmptyByForce) {
		me.msal = token{}
	}
	if w.r.has(CountAnswers) && !me.answerCounts(me.answer) {
		me.answer = answer{}
	}
	if !w.r.has(KeepT) && me.held.signIn == 0 && me.waits.signIn == 0 && me.msal.signIn == 0 && me.answer.number == 0 {
		me.known = mark{}
	}
}

// arrive takes in a token that a request has brought: it is held, and written or kept to be written.
func (w *run) arrive(i int, t token) {
	me := &w.s.instances[i]
	counted, ok := w.counts(i, t)
	if w.r.has(CountArriving) {
		if !ok {
			w.drop(t)
			return
		}
		t = counted
	}
	if t.aged && !me.cutOff && w.r.has(AgedNotStored) {
		w.reached(i)
		return
	}
	if w.newer(t, me.held) {
		me.held, me.confirmed = t, false
	}
	if me.cutOff {
		if w.newer(t, me.waits) {
			me.waits = t
		}
		return
	}
	w.write(i, t)
}

// write stores a token, and takes in what Redis says of it.
func (w *run) write(i int, t token) {
	me := &w.s.instances[i]
	t.aged = false
	stored, ok := w.store(i, t)
	w.reached(i)
	mine := me.held.signIn == t.signIn && me.held.use == t.use
	switch {
	case ok && mine:
		me.held, me.confirmed = stored, true
	case !ok && (mine || !w.r.has(RefuseOnlyThose)):
		me.held, me.confirmed = token{}, false
	}
	me.latest = max(me.latest, w.s.now)
	w.hear(i, w.s.tombstone, w.s.knows)
}

// push writes what waits.
func (w *run) push(i int) {
	me := &w.s.instances[i]
	t := me.waits
	me.waits = token{}
	if t.aged && w.r.has(AgedNotPushed) {
		return
	}
	w.write(i, t)
}

// ask is the part of a look that Redis does.
func (w *run) ask(i int) {
	w.bring(i)
	w.s.instances[i].look = reply{true, w.s.record, w.s.tombstone, w.s.knows}
}

// takeIn is the part of a look that an instance does when it has its answer.
func (w *run) takeIn(i int) {
	me := &w.s.instances[i]
	found := me.look
	me.look = reply{}
	me.latest = max(me.latest, w.s.now)
	w.reached(i)
	m := found.mark
	if !w.r.has(LookLearnsT) {
		m = mark{}
	}
	w.hear(i, m, found.knows)
	lost := token{}
	if me.confirmed && w.newer(me.held, found.record) {
		lost = me.held
	}
	if t := found.record; w.r.has(LookKnowsT) && t.signIn != 0 {
		if _, ok := w.counts(i, t); !ok {
			found.record = w.drop(t)
		}
	}
	me.held, me.confirmed = found.record, found.record.signIn != 0
	if lost.signIn != 0 {
		me.held, me.confirmed = lost, true
		w.write(i, lost)
	}
	if w.newer(me.waits, me.held) {
		me.held, me.confirmed = me.waits, false
	}
}

// reached is called when Redis has answered: what is aged serves no longer.
func (w *run) reached(i int) {
	me := &w.s.instances[i]
	if me.held.aged && w.r.has(AgedNotRestored) {
		me.held, me.confirmed = token{}, false
	}
	if me.waits.aged && w.r.has(AgedNotPushed) {
		me.waits = token{}
	}
	if me.msal.aged && w.r.has(AgedNotServed) {
		me.msal = token{}
	}
	if me.flow.aged && w.r.has(AgedNotStored) {
		w.endRefresh(i) // what comes of it goes to its caller, and is not kept
	}
}

// lookNow is a whole look.
func (w *run) lookNow(i int) {
	w.ask(i)
	w.takeIn(i)
}

// estimates are what an instance may take for Redis's time.
func (w *run) estimates(i int) (all []micros) {
	for e := -w.b.ClockError; e <= w.b.ClockError; e++ {
		all = append(all, max(w.s.now+e, 1))
		if e < 0 {
			e = -1 // the ends and the middle will do
		} else if e == 0 && w.b.ClockError > 0 {
			e = w.b.ClockError - 1
		}
	}
	return all
}

// given is a session that an instance gives, later than any before, or an estimate for a sign-out.
func (w *run) given(i int, t micros) micros {
	if me := &w.s.instances[i]; w.r.has(NeverBack) {
		return max(t, me.latest, me.issued+1)
	}
	return t
}
