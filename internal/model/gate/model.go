package gate

import "fmt"

// Rules are what keeps the promises. A test leaves one out.
type Rules struct {
	SecondLook bool // look again inside the lease
	Order      bool // the newer stamp stays
	Descent    bool // a token's stamp is newer than that of the one it was refreshed from
	Session    bool // a token is of the session of the sign-in that it comes of, and one of before a sign-out is refused
	AsOf       bool // a sign-out that is tried again is as of when it was asked for, and ends no later session
	OwnFailure bool // that an instance cannot reach Entra ID is not told to the others
}

// All are the rules of the code.
var All = Rules{SecondLook: true, Order: true, Descent: true, Session: true, AsOf: true, OwnFailure: true}

// Instances is how many of them there are: two that race, and a third that comes after.
const Instances = 3

// token is the token of a user: 0 for none.
type token struct {
	signIn int8 // which sign-in it comes of
	use    int8 // how often it was refreshed since
	stamp  int8 // Redis's time of the look before it was asked for
}

// at is the step that an instance takes next.
type at int8

const (
	look at = iota
	lease
	lookAgain
	post
	store
	release
	done
	dead
)

var names = [...]string{"look", "lease", "look again", "post", "store", "release", "done", "dead"}

type instance struct {
	at     at
	looked int8  // Redis's time of its last look inside the lease
	saw    token // what that found
	got    token // what Entra ID has answered
	failed bool  // it could not be reached
}

// State is that of the fleet.
type State struct {
	// Redis:
	record token // the refresh token, as of the last store
	due    bool  // the access token beside it is due: a refresh is wanted
	holder int8  // of the lease, from 1; 0: nobody
	time   int8  // Redis's
	pause  bool  // nobody should ask: somebody has failed

	// Entra ID:
	posts int8 // requests made for the token of the present sign-in

	instances [Instances]instance

	// What has happened, and may happen only once or twice, so that there is an end.
	signedOut, signedIn, ended, crashed bool
	sick                                int8 // the instance that cannot reach Entra ID, from 1; 0: all can
	gone                                int8 // the sign-ins up to this one have been signed out
	waits                               bool // Redis has refused the sign-out, and it is tried again
}

// Initial is a user who has signed in, and whose token is due.
func Initial() State {
	return State{record: token{signIn: 1, stamp: 1}, due: true, time: 1}
}

// Step is one that can be taken, and what comes of it.
type Step struct {
	Name   string
	To     State
	Broken string // the promise that it breaks; "": none
}

// Steps are all that can be taken from a state.
func (s State) Steps(rules Rules) (steps []Step) {
	add := func(name string, to State, broken string) { steps = append(steps, Step{name, to, broken}) }
	for i := range s.instances {
		if me := s.instances[i]; me.at != done && me.at != dead {
			to, broken, ok := s.advance(rules, i)
			if ok {
				add(fmt.Sprintf("instance %d: %s", i+1, names[me.at]), to, broken)
			}
			if s.sick == 0 && me.at != store && me.at != release {
				to := s
				to.sick = int8(i + 1)
				add(fmt.Sprintf("instance %d: its way to Entra ID breaks", i+1), to, "")
			}
			if !s.crashed {
				to := s
				to.instances[i], to.crashed = instance{at: dead}, true
				add(fmt.Sprintf("instance %d: crash, before it comes to %s", i+1, names[me.at]), to, "")
			}
		}
	}
	if s.holder != 0 && (!s.ended || s.instances[s.holder-1].at == dead) {
		to := s
		to.holder = 0
		to.ended = true
		add(fmt.Sprintf("the lease of instance %d ends", s.holder), to, "")
	}
	if !s.signedOut {
		to := s
		to.record, to.due = token{}, false
		to.signedOut, to.gone = true, 1
		add("sign out", to, "")
		to = s
		to.signedOut, to.waits = true, true
		add("sign out, which Redis refuses", to, "")
	}
	if s.waits {
		to := s
		to.waits, to.gone = false, 1
		broken := ""
		if !rules.AsOf || s.record.signIn == 1 {
			to.record, to.due = token{}, false
		}
		if s.record.signIn > 1 && to.record.signIn == 0 {
			broken = "a sign-in after a sign-out is kept"
		}
		add("the sign-out is tried again", to, broken)
	}
	if s.signedOut && !s.signedIn {
		to := s
		to.time++
		// Its stamp is what its instance believes to be Redis's time, and may be ahead.
		to.record, to.due = token{signIn: 2, stamp: to.time + 1}, true
		to.posts = 0
		to.signedIn = true
		add("sign in", to, "")
	}
	return steps
}

// advance lets an instance take its next step; false: it has to wait.
func (s State) advance(rules Rules, i int) (to State, broken string, ok bool) {
	to = s
	me := &to.instances[i]
	if s.pause && (me.at == look || me.at == lookAgain) {
		if s.sick != int8(i+1) {
			broken = "an instance that cannot reach Entra ID harms nobody else"
		}
		*me = instance{at: done}
		return to, broken, true
	}
	switch me.at {
	case look:
		me.saw = s.record
		me.at = lease
		if !s.due {
			*me = instance{at: done} // what there is serves, or there is nothing
		}
	case lease:
		if s.holder != 0 {
			return to, "", false
		}
		to.holder = int8(i + 1)
		me.at = lookAgain
		if !rules.SecondLook {
			to.time++
			me.looked, me.at = to.time, post
		}
	case lookAgain:
		to.time++
		me.saw, me.looked = s.record, to.time
		me.at = post
		if !s.due {
			me.at = release
		}
	case post:
		if s.sick == int8(i+1) {
			me.at, me.failed = store, true
			break
		}
		me.got = token{me.saw.signIn, me.saw.use + 1, me.looked}
		if rules.Descent {
			me.got.stamp = max(me.looked, me.saw.stamp+1)
		}
		me.at = store
		if me.saw.signIn == s.record.signIn {
			to.posts++
		}
		if to.posts > 1 && !s.ended && !s.crashed {
			broken = "one token costs one token request"
		}
	case store:
		me.at = release
		defer func() { me.saw, me.got, me.looked, me.failed = token{}, token{}, 0, false }()
		if me.failed {
			to.pause = !rules.OwnFailure
			break
		}
		if rules.Session && me.got.signIn <= s.gone {
			break // refused
		}
		if rules.Order && (s.record.signIn > me.got.signIn ||
			s.record.signIn == me.got.signIn && s.record.stamp >= me.got.stamp) {
			break // a newer one is there
		}
		to.record, to.due = me.got, false
		switch {
		case me.got.signIn <= s.gone && s.record.signIn > s.gone:
			broken = "a sign-in after a sign-out is kept"
		case me.got.signIn <= s.gone:
			broken = "after a sign-out nothing comes back"
		case s.record.stamp > me.got.stamp:
			broken = "an older token never replaces a newer one"
		}
	case release:
		if s.holder == int8(i+1) {
			to.holder = 0
		}
		*me = instance{at: done}
	}
	return to, broken, true
}
