package removal

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

// estimated tells whether a time need not be exact: Redis cannot be asked, or a drawn time was raised by what
// Redis does not know.
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
