package removal

// run is a step that is being taken.
type run struct {
	r      Rules
	b      Bounds
	s      State
	broken string // the invariant that the step itself has broken
}

// breaks notes the first invariant that is broken.
func (w *run) breaks(invariant string) {
	if w.broken == "" {
		w.broken = invariant
	}
}

func (t token) counts(m mark) bool  { return t.signIn != 0 && t.session >= m.t }
func (a answer) counts(m mark) bool { return a.number != 0 && a.asked >= m.t }

// newer tells which of two tokens a field keeps.
func (w *run) newer(a, b token) bool {
	if a.signIn == 0 || b.signIn == 0 {
		return a.signIn != 0
	}
	if w.r.has(SessionFirst) && a.session != b.session {
		return a.session > b.session
	}
	return a.stamp > b.stamp
}

// lift is a token whose session was drawn after the removal was written, though T is ahead of Redis's clock.
func (w *run) lift(t token, m mark) token {
	if w.r.has(LiftSession) && t.drawn != 0 && t.session < m.t && t.drawn >= m.written {
		t.session = m.t
	}
	return t
}

// drop is called with a token that is left out because of a removal.
func (w *run) drop(t token) token {
	if w.s.live(t.signIn) {
		w.breaks(LaterSurvives)
	}
	return token{}
}

// merge merges a mark into the tombstone, and removes what does not count.
func (w *run) merge(m mark, knows set) {
	w.s.tombstone = merge(w.s.tombstone, m)
	w.s.knows |= knows
	if w.s.record.signIn != 0 && !w.s.record.counts(w.s.tombstone) {
		w.s.record = w.drop(w.s.record)
	}
}

// bring is the part of load and store that carries the mark which the caller knows.
func (w *run) bring(i int) {
	if me := &w.s.instances[i]; w.r.has(TBack) {
		w.merge(me.known, me.knows)
	}
}

// store is store.lua: the token as Redis has it now, and whether it was taken.
func (w *run) store(i int, t token) (token, bool) {
	s := &w.s
	w.bring(i)
	t = w.lift(t, s.tombstone)
	if w.r.has(StoreRefuses) && !t.counts(s.tombstone) {
		w.drop(t)
		return t, false
	}
	t.drawn = 0
	if w.newer(t, s.record) {
		s.record = t
	}
	return t, true
}

// signOut is signout.lua. first: it may be given a time by the script.
func (w *run) signOut(out signOut, first bool) {
	s := &w.s
	m := mark{out.t, out.t}
	late := w.r.has(LateAsOfAsking) && s.now > out.asked+w.b.window(w.r)
	if first && w.r.has(TFromRedis) && !late || !first && !w.r.has(RetryAsOfAsking) {
		m = mark{s.now, s.now}
		if w.r.has(TAboveRecord) && s.record.signIn != 0 {
			m.t = max(m.t, s.record.session+1)
		}
		if w.r.has(TAboveTombstone) {
			m.t = max(m.t, s.tombstone.t+1)
		}
		m.t = max(m.t, out.least)
	}
	if first && s.now <= out.at+inTime {
		// What is in the record is removed, if it was asked for before, by whatever clock.
		if n := s.record.signIn; n != 0 && s.asked[n] < out.at {
			out.removes |= only(n)
			s.dead |= only(n)
			s.either &^= only(n)
		}
	} else {
		out.removes = w.unsure(out)
	}
	w.merge(m, out.removes)
	s.removed |= out.removes
}

// unsure takes note that T of a sign-out is an estimate, and gives what it removes for certain.
func (w *run) unsure(out signOut) set {
	s := &w.s
	s.lastEstimated = max(s.lastEstimated, out.at)
	unsure := out.near &^ s.removed
	s.dead &^= unsure
	s.either |= unsure
	return out.removes &^ out.near
}

// tell sends the others a message.
func (w *run) tell(from int) {
	for j := range int(w.b.Instances) {
		if you := &w.s.instances[j]; j != from {
			you.message = merge(you.message, w.s.tombstone)
			you.told |= w.s.knows
		}
	}
}
