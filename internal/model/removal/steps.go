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

// run is a step from the state.
func (x *stepper) run() *run { return &run{r: x.r, b: x.b, s: x.s} }

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
	if b.ClockBack > 0 && !s.wentBack {
		x.step(func(w *run) { w.s.wentBack, w.s.now = true, s.now-b.ClockBack }, "Redis's clock goes back to %d",
			s.now-b.ClockBack)
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
