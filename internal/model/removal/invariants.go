package removal

// The invariants.
const (
	// NotServed: an instance serves nothing that it knows to be removed, by a sign-out of its own, a message, or a
	// look.
	NotServed = "an instance serves what it knows to be removed"
	// NotStored: Redis holds nothing that a sign-out has removed from it, as long as it has not lost that sign-out:
	// nothing comes back by a restore, a retry, a refresh or a late write.
	NotStored = "what was removed from Redis comes back"
	// LaterSurvives: a sign-out removes no sign-in that was asked for after it, whether it is late, tried again, or
	// merged.
	LaterSurvives = "a sign-out removes a later sign-in"
	// Agree: when all that waits is done and everybody has looked, Redis and every instance hold the same.
	Agree = "Redis and the instances do not agree in the end"
	// GoneInTheEnd: and nothing that anybody knows to be removed is left.
	GoneInTheEnd = "what was removed is there in the end"
	// KeptInTheEnd: and the latest sign-in that no sign-out covers is there.
	KeptInTheEnd = "a sign-in that no sign-out covers is lost in the end"
	// RefreshTokenKept: with the last refresh token that it was given.
	RefreshTokenKept = "the last refresh token of a sign-in is lost in the end"
)

// live tells whether a sign-in must be kept.
func (s *State) live(signIn int8) bool {
	return signIn != 0 && !s.dead.has(signIn) && !s.either.has(signIn)
}

// check tells which invariant a state breaks.
func check(r Rules, b Bounds, s State) string {
	if s.record.signIn != 0 && s.knows.has(s.record.signIn) {
		return NotStored
	}
	for i := range int(b.Instances) {
		if me := &s.instances[i]; me.serves(me.knowsRemoved()) {
			return NotServed
		}
	}
	return settle(r, b, s)
}

// knowsRemoved is what the instance knows to be removed, by whatever way.
func (me *instance) knowsRemoved() set { return me.knows | me.out.removes&^me.out.near }

// underWay tells whether a request of the instance is.
func (me *instance) underWay() bool {
	return me.phase != idle || me.signing.signIn != 0 || me.look.underway || me.asking.number != 0
}

// holds tells whether the instance has a token of a sign-in, or waits for one.
func (me *instance) holds(n int8) bool {
	for _, t := range []token{me.held, me.waits, me.msal, me.signing, me.flow} {
		if t.signIn == n {
			return true
		}
	}
	return false
}

// serves tells whether an instance would serve one of a set. What waits is held too; a token that waits beside a
// newer one is written, and what is wrong with it shows there.
func (me *instance) serves(of set) bool {
	return me.held.signIn != 0 && of.has(me.held.signIn) || me.msal.signIn != 0 && of.has(me.msal.signIn) ||
		me.answer.number != 0 && of.has(me.answer.number)
}

// settle lets everybody reach Redis and do all that waits, without any further message, where nothing is under way.
func settle(r Rules, b Bounds, s State) string {
	if s.late.state != none {
		return ""
	}
	known := s.knows
	if b.Strict {
		known |= s.dead
	}
	for i := range int(b.Instances) {
		me := &s.instances[i]
		if me.underWay() || me.out.state == trying {
			return ""
		}
		known |= me.knowsRemoved()
		me.cutOff, me.message, me.told = false, mark{}, 0
	}
	w := run{r: r, b: b, s: s}
	for i := range int(b.Instances) {
		me := &w.s.instances[i]
		if me.out.state == waiting {
			w.signOut(me.out, false)
			me.out = signOut{}
			w.hear(i, w.s.tombstone, w.s.knows)
		}
		if me.waits.signIn != 0 {
			w.push(i)
		}
	}
	for range 2 {
		for i := range int(b.Instances) {
			w.lookNow(i)
		}
	}
	if w.broken != "" {
		return w.broken
	}
	s = w.s
	if s.record.signIn != 0 && known.has(s.record.signIn) {
		return GoneInTheEnd
	}
	for i := range int(b.Instances) {
		me := &s.instances[i]
		if me.serves(known) {
			return GoneInTheEnd
		}
		if me.held != s.record {
			return Agree
		}
	}
	return kept(b, &s)
}

// kept looks at the latest sign-in that was answered, which all earlier ones make way for.
func kept(b Bounds, s *State) string {
	for n := s.signIns; n > 0; n-- {
		if !s.answered.has(n) {
			continue
		}
		if !s.live(n) || s.excused.has(n) {
			return ""
		}
		switch there := s.record.signIn; {
		case there != n && there != 0 && !s.dead.has(there) && s.sessions[there] >= s.sessions[n]:
			// By clocks that are not exact the other one is later. It serves as well.
			return ""
		case there != n:
			return KeptInTheEnd
		case b.Rotate && s.record.use != s.uses[n]:
			return RefreshTokenKept
		}
		return ""
	}
	return ""
}

// excuse excuses the loss of sign-ins of which no copy is left that can come to Redis. What they took the place of
// goes with them.
func (w *run) excuse() {
	if w.b.Strict {
		return
	}
	s := &w.s
	for n := int8(1); n <= s.signIns; n++ {
		if !s.answered.has(n) || w.copied(n) {
			continue
		}
		if latest := s.latestLive(); latest == n {
			for m := int8(1); m <= n; m++ {
				s.excused |= only(m)
			}
		}
	}
}

// latestLive is the latest sign-in that was answered and must be kept.
func (s *State) latestLive() int8 {
	for n := s.signIns; n > 0; n-- {
		if s.answered.has(n) && s.live(n) {
			return n
		}
	}
	return 0
}

// copied tells whether there is a copy of a sign-in's token that serves.
func (w *run) copied(n int8) bool {
	s := &w.s
	good := func(t token) bool {
		return t.signIn == n && !t.aged && (!w.b.Rotate || t.use == s.uses[n])
	}
	if good(s.record) {
		return true
	}
	for i := range int(w.b.Instances) {
		me := &s.instances[i]
		if me.confirmed && good(me.held) || good(me.waits) || me.phase == refreshed && good(me.flow) {
			return true
		}
	}
	return false
}
