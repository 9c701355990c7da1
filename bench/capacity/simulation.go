package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// simulation is one partition of an app, and all instances of a fleet that use it.
type simulation struct {
	Fleet
	rng   *rand.Rand
	now   time.Duration
	queue events
	sent  uint64 // numbers events, so that those of one time are in order

	instances []instance

	// In Redis. Tokens are numbered; 0: there is none.
	record, answer int
	version        int  // of the record
	held           bool // the lease
	announced      int  // in the change log
	released       int  // wake-ups so far
	listening      int  // instances that hear them

	tokens  []time.Duration // when each becomes due; [0] is unused
	seconds []second
}

// second is what happens in one.
type second struct {
	counts
	requests   int
	delivered  int // messages, each to one subscriber
	subscribed int // to wake-ups, at most
	read       int // announcements, each by one instance
}

// instance is one of the fleet. Times are the simulation's; a negative one has not come.
type instance struct {
	phase time.Duration // of its calls
	token int           // MSAL's
	due   time.Duration // when MSAL asks for another

	version    int           // of the record, as it is known
	checked    time.Duration // when Redis has confirmed the record itself
	doubted    time.Duration // until when the log does not vouch
	read       reading
	position   int // in the change log
	confirming bool

	busy       bool // a caller waits
	refreshing bool
	recalls    time.Duration // until when the answer that it has brought serves without a look
	waits      bool          // subscribed to the wake-up
	heard      int           // wake-ups when it subscribed, or looked
	idle       bool          // it waits for that, or for its timer
	turn       int           // which wait, so that a timer of an earlier one does nothing
	calls      int           // which call is to come, likewise
}

// reading is one of the change log; since: what was confirmed before is in doubt.
type reading struct{ at, since time.Duration }

const never = -1

// simulate runs a fleet with one partition for a time. removed is when an instance forgets the app's tokens; 0: none
// does.
func simulate(f Fleet, d, removed time.Duration, seed uint64) []second {
	s := &simulation{
		Fleet: f, rng: rand.New(rand.NewPCG(f.Seed, seed)), instances: make([]instance, f.Instances),
		tokens: make([]time.Duration, 1), seconds: make([]second, int(d/time.Second)+1),
	}
	for i := range s.instances {
		in := &s.instances[i]
		*in = instance{checked: never, doubted: never, read: reading{at: never}}
		in.phase = time.Duration(i)*f.Within/time.Duration(f.Instances) +
			time.Duration(s.rng.Int64N(int64(f.Within)/int64(f.Instances)+1))
		s.at(in.phase, func() { s.call(in) })
		// Each instance reads the change log from half of LocalTTL after its first use.
		s.at(in.phase+f.readings(), func() { s.heed(in) })
	}
	if removed > 0 {
		s.at(removed, s.removal)
	}
	for len(s.queue) > 0 {
		next := heap.Pop(&s.queue).(event)
		if next.at >= d {
			break
		}
		s.now = next.at
		next.do()
	}
	return s.seconds
}

// call is a call of MSAL's on an instance.
func (s *simulation) call(in *instance) {
	if in.busy {
		return
	}
	confirmed := s.confirmed(in)
	switch {
	case in.token == 0 || confirmed == never || s.now-confirmed >= s.LocalTTL:
		in.busy = true
		sent := s.now
		s.ask(load, func() {
			if in.checked, in.version = sent, s.version; s.record > 0 {
				s.give(in, s.record)
				s.end(in)
				return
			}
			s.look(in)
		})
	case s.now >= in.due:
		in.busy = true
		s.refresh(in)
	default:
		if s.now-confirmed >= s.LocalTTL/2 && !s.vouches(in) {
			s.revalidate(in)
		}
		s.next(in)
	}
}

// next schedules the next call at which anything is done: those between find a token that is confirmed.
func (s *simulation) next(in *instance) {
	until := in.due
	if confirmed := s.confirmed(in); confirmed == never || in.token == 0 {
		until = s.now
	} else {
		until = min(until, confirmed+s.LocalTTL/2)
	}
	until = max(until, s.now+1)
	turns := max(0, (until-in.phase+s.Every-1)/s.Every)
	in.calls++
	mine := in.calls
	s.at(in.phase+turns*s.Every, func() {
		if in.calls == mine {
			s.call(in)
		}
	})
}

func (s *simulation) end(in *instance) {
	in.busy = false
	s.next(in)
}

// give gives MSAL a token.
func (s *simulation) give(in *instance, token int) { in.token, in.due = token, s.tokens[token] }

// confirmed is when Redis has confirmed an instance's record, by itself or by the change log; never: it has not.
func (s *simulation) confirmed(in *instance) time.Duration {
	if r := in.read; in.checked > in.doubted && in.checked > r.since && r.at > in.checked && r.at-in.checked < vouchedFor {
		return r.at
	}
	return in.checked
}

func (s *simulation) vouches(in *instance) bool {
	return in.read.at >= 0 && in.checked > in.read.since && in.checked > in.doubted && s.now-in.checked < vouchedFor
}

// revalidate asks about a record in the background.
func (s *simulation) revalidate(in *instance) {
	if in.confirming || in.token == 0 {
		return
	}
	in.confirming = true
	sent := s.now
	s.ask(load, func() {
		in.confirming = false
		if s.record == 0 || in.token == 0 {
			return
		}
		in.checked, in.version = sent, s.version
		if s.record > in.token {
			s.give(in, s.record)
		}
	})
}

// heed is a reading of the change log.
func (s *simulation) heed(in *instance) {
	at := s.now
	s.ask(heed, func() {
		if in.read.at == never {
			in.read.since = s.now + s.doubtedFor() // the log's first word: nothing is known of before
			in.position = s.announced
		}
		in.read.at = at
		if in.position < s.announced {
			s.second().read += s.announced - in.position
			in.position = s.announced
			in.doubted = s.now + s.doubtedFor()
			s.revalidate(in)
		}
	})
	s.at(s.now+s.readings(), func() { s.heed(in) })
}

// ask sends a command; then is called when its answer is there.
func (s *simulation) ask(c command, then func()) {
	s.second().counts[c]++
	s.at(s.now+s.RoundTrip, then)
}

func (s *simulation) second() *second {
	return &s.seconds[min(int(s.now/time.Second), len(s.seconds)-1)]
}

func (s *simulation) at(t time.Duration, do func()) {
	s.sent++
	heap.Push(&s.queue, event{t, s.sent, do})
}

// event is what happens at a time.
type event struct {
	at time.Duration
	n  uint64
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return last
}
