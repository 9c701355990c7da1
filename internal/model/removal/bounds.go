package removal

// Bounds say what may happen, and how often.
type Bounds struct {
	Instances, SignIns, SignOuts, Refreshes, Answers, Ticks int8

	Nobody     bool   // nobody has signed in at the start
	Ahead      micros // the session at the start is so far ahead of Redis's clock: an estimate was off
	Rotate     bool   // a refresh token dies when it is redeemed
	Late       bool   // a sign-out is refused, loses its answer, or is carried out after it was given up
	Cuts       int8   // how often an instance loses Redis
	Declined   bool   // a sign-in may stay in MSAL's memory alone
	Aging      bool   // once, more than a tombstone's life passes
	Loss       bool   // Redis loses everything, once
	Evict      bool   // Redis evicts the record or the tombstone, once
	Crash      bool   // an instance is killed, once, and starts anew
	LeaseEnds  bool   // a lease ends while its holder lives, once
	SlowLooks  bool   // a look's answer is on its way while other things happen
	ClockBack  micros // Redis's clock goes back by this, once
	ClockError micros // of an estimate, either way
	Strict     bool   // what no rule keeps is promised too (TestWhatNoRuleRepairs)
}

// Two times that were given by clocks of which one was estimated need this distance to be told apart; each
// sign-out may put the next time off by one more.
func (b Bounds) distance() micros {
	if b.ClockError+b.Ahead == 0 || b.Strict {
		return 0
	}
	return 2*b.ClockError + b.Ahead + b.SignOuts
}

// inTime is how long a sign-out may be on its way and is for certain not late.
const inTime = 2

// timeout is when a caller gives a sign-out up, counted from its asking.
func (b Bounds) timeout() micros { return inTime + 1 + 2*b.ClockError }

// window is how late, by the estimate that comes with it, a first try is still one.
func (b Bounds) window(r Rules) micros {
	if r.has(WindowWithinTimeout) {
		return b.timeout() - 1 - b.ClockError
	}
	return b.timeout() + 1 + b.ClockError
}
