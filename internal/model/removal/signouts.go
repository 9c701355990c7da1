package removal

// signOuts are their asking, tries and retries.
func (x *stepper) signOuts(i int) {
	s, b, me := &x.s, x.b, &x.s.instances[i]
	if s.signOuts < b.SignOuts && me.out.state != trying {
		for _, estimate := range x.run().estimates(i) {
			x.step(func(w *run) { w.askSignOut(i, estimate) }, "%d: is asked for a sign-out, as of %d by its clock",
				i+1, estimate)
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
