package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"
)

// history is all that was written down of a run.
type history struct {
	Terms    terms
	Redis    string // its version
	Clocks   bool   // two workers' clocks are off
	Calls    []call
	Requests []request
	Faults   []injected
	Busy     []injected // what nobody injected: see the kind busy
	Lives    []life
	Spilled  []string // what was written with a secret in it, up to the secret
}

// The rules of a run.
const (
	ruleWrong    = "wrong token" // another user's, tenant's or scope's
	ruleExpired  = "token past its life"
	ruleRevoked  = "token revoked" // by the user's own sign-out, later than the bound
	ruleLost     = "refresh token lost"
	ruleRequests = "needless token request"
	ruleFailed   = "call failed" // that policy says succeeds
	ruleSlow     = "call too long"
	ruleLeaked   = "not ended cleanly"
	ruleSecret   = "secret written"
)

// violation is a rule that was not kept.
type violation struct {
	Rule  string
	At    time.Duration
	Fault string // the kind of fault nearest to it
	Text  string
}

// loss is a refresh token that was lost as the bound of its fault allows.
type loss struct {
	User, Why, Fault string
}

// verdict is what the checker decides.
type verdict struct {
	Violations []violation
	Losses     []loss
	Rows       []row
}

// row is a line of the report.
type row struct {
	Kind     string
	Injected int
	Calls    int
	Failed   int // as policy allows; what it does not allow is a violation
	Lost     int
	Extra    int // token requests for a token that the fleet had and that was not due
	Longest  time.Duration
	Bound    int // of Extra, for each token and fault
}

// noFault is the row of calls that met no fault.
const noFault = "none"

const (
	// slack is what is granted to a machine with few processors, wherever a bound is in time: enough to tell working from
	// stuck.
	slack = 5 * time.Second
	// near is what is granted between two clocks readings of one machine, and to a message on its way.
	near = 500 * time.Millisecond
)

// checker decides.
type checker struct {
	*history
	sessions map[string][]call // sign-ins and sign-outs of a user, in order
	silent   map[string][]call // calls for a user that succeeded, in order of their end
	forgets  map[string][]call // by owner: of an app's tokens, or of those on behalf of a user
	answers  map[identity][]request
	killed   map[int]time.Duration
	frozen   map[int][]injected
	rows     map[string]*row
	verdict
}

func newChecker(h history) *checker {
	c := &checker{history: &h, sessions: map[string][]call{}, silent: map[string][]call{}, forgets: map[string][]call{},
		answers: map[identity][]request{}, killed: map[int]time.Duration{}, frozen: map[int][]injected{},
		rows: map[string]*row{}}
	c.index()
	return c
}

func check(h history) verdict {
	c := newChecker(h)
	c.tokens()
	c.revoked()
	c.outcomes()
	c.requests()
	c.lost()
	c.lives()
	for _, text := range c.Spilled {
		c.violate(ruleSecret, 0, "in a log or an error: %s", text)
	}
	sort.SliceStable(c.Violations, func(i, j int) bool { return c.Violations[i].At < c.Violations[j].At })
	for _, k := range append([]string{noFault}, slices.Sorted(maps.Keys(c.rows))...) {
		if k != noFault || len(c.Rows) == 0 {
			c.Rows = append(c.Rows, *c.row(k))
		}
	}
	return c.verdict
}

func (c *checker) row(kind string) *row {
	r := c.rows[kind]
	if r == nil {
		r = &row{Kind: kind}
		if k := kindNamed(kind); k != nil {
			r.Bound = k.extra(c.Terms)
		}
		c.rows[kind] = r
	}
	return r
}

func (c *checker) index() {
	for _, x := range c.Calls {
		switch {
		case x.Flow == flowSignIn || x.Flow == flowSignOut:
			c.sessions[x.User] = append(c.sessions[x.User], x)
			if x.Flow == flowSignIn && x.Fail == "" && x.End > 0 {
				c.silent[x.User] = append(c.silent[x.User], x)
			}
		case x.Flow == flowForget || x.Flow == flowDismiss:
			owner := x.identity().owner()
			c.forgets[owner] = append(c.forgets[owner], x)
		case x.Flow == flowSilent && x.Fail == "":
			c.silent[x.User] = append(c.silent[x.User], x)
		}
	}
	for _, s := range c.sessions {
		slices.SortFunc(s, func(a, b call) int { return cmp.Compare(a.Start, b.Start) })
	}
	for _, s := range c.silent {
		slices.SortFunc(s, func(a, b call) int { return cmp.Compare(a.End, b.End) })
	}
	for _, r := range c.Requests {
		if r.Status == 200 && r.Error == "" && r.Answered > 0 && !r.Claims {
			c.answers[r.For] = append(c.answers[r.For], r)
		}
	}
	for _, a := range c.answers {
		slices.SortFunc(a, func(x, y request) int { return cmp.Compare(x.Answered, y.Answered) })
	}
	for _, l := range c.Lives {
		if l.Killed || !l.Closed { // what it alone knew is gone, whoever is to blame for that
			c.killed[l.Worker] = l.End
		}
	}
	for _, f := range c.Faults {
		if f.Kind == kindFreeze {
			c.frozen[f.Worker] = append(c.frozen[f.Worker], f)
		}
	}
	// Together, where they are: a run on a busy machine has hundreds.
	slices.SortFunc(c.Busy, func(a, b injected) int { return cmp.Compare(a.Start, b.Start) })
	var together []injected
	for _, b := range c.Busy {
		if !c.unexplained(&b) {
			continue
		}
		if n := len(together); n > 0 && b.Start <= together[n-1].End+near {
			together[n-1].End = max(together[n-1].End, b.End)
		} else {
			b.Worker, b.Note = -1, ""
			together = append(together, b)
		}
	}
	c.Faults = append(slices.Clone(c.Faults), together...)
	slices.SortFunc(c.Faults, func(a, b injected) int { return cmp.Compare(a.Start, b.Start) })
	for _, f := range c.Faults {
		c.row(f.Kind).Injected++
	}
}

// unexplained tells whether no injected fault explains what a busy machine did, and cuts off what one does. That Redis
// was away counts only where processes came late too: else it is the library that is wrong.
func (c *checker) unexplained(b *injected) bool {
	if c.stopped(b.Worker, b.Start, b.End) > 0 {
		return false
	}
	for _, f := range c.during(b.Start, b.Start, func(k *kind) bool { return k.away }) {
		if b.Note != noteAway {
			return false
		}
		b.Start = max(b.Start, f.End+kindNamed(f.Kind).after)
	}
	return b.Note != noteAway || b.Start < b.End && slices.ContainsFunc(c.Busy, func(l injected) bool {
		return l.Note != noteAway && l.End >= b.Start-c.Terms.OpTimeout-recovery && l.Start <= b.End
	})
}

func (c *checker) violate(rule string, at time.Duration, format string, args ...any) {
	fault := noFault
	for _, f := range c.Faults {
		if f.Start <= at {
			fault = f.Kind
		}
	}
	c.Violations = append(c.Violations, violation{rule, at, fault, fmt.Sprintf(format, args...)})
}

// during are the faults whose effects may show between a and b.
func (c *checker) during(a, b time.Duration, that func(*kind) bool) (out []injected) {
	for _, f := range c.Faults {
		k := kindNamed(f.Kind)
		if f.Start <= b && f.End+k.after >= a && (that == nil || that(k)) {
			out = append(out, f)
		}
	}
	return out
}

// stopped is how much of a time a worker stood still.
func (c *checker) stopped(worker int, a, b time.Duration) (sum time.Duration) {
	for _, f := range c.frozen[worker] {
		sum += max(0, min(b, f.End+near)-max(a, f.Start))
	}
	return sum
}

// signedIn tells whether a user was signed in all the time from a to b, and since when.
func (c *checker) signedIn(user string, a, b time.Duration) (since time.Duration, ok bool) {
	var last call
	for _, s := range c.sessions[user] {
		if s.Start <= b {
			last = s
		}
	}
	return last.End, last.Flow == flowSignIn && last.Fail == "" && last.End > 0 && last.End < a
}

// signInAt is the sign-in that ended at a moment.
func (c *checker) signInAt(user string, at time.Duration) call {
	for _, s := range c.sessions[user] {
		if s.End == at {
			return s
		}
	}
	return call{Worker: -1}
}

// knows tells whether a worker has had a user's tokens in its hands since a moment: a token of the session, not one
// that an instance which has not heard of the sign-out still hands out.
func (c *checker) knows(worker int, user string, since, before time.Duration) bool {
	return slices.ContainsFunc(c.silent[user], func(x call) bool {
		return x.Worker == worker && x.End >= since && x.End < before && c.ofSession(x)
	})
}

// ofSession tells whether a call brought a token of the user's last sign-in until then.
func (c *checker) ofSession(x call) bool {
	var last call
	for _, s := range c.sessions[x.User] {
		if s.Flow == flowSignIn && s.Fail == "" && s.End > 0 && s.End <= x.End {
			last = s
		}
	}
	return x.Token.Session == last.Token.Session
}

// signInOf is the sign-in that a token descends from; one that never returned is not known.
func (c *checker) signInOf(x call) (signIn call, ok bool) {
	for _, s := range c.sessions[x.User] {
		if s.Flow == flowSignIn && s.Fail == "" && s.End > 0 && s.Token.Session == x.Token.Session {
			return s, true
		}
	}
	return call{}, false
}

// lives checks that every process that was not killed by a fault carried out its orders, closed and left nothing
// running.
func (c *checker) lives() {
	called := map[int]bool{}
	for _, x := range c.Calls {
		called[x.Worker] = true
	}
	for _, l := range c.Lives {
		switch {
		case l.Hung != "":
			c.violate(ruleLeaked, l.End, "worker %d hung when it was told to %s, and was killed", l.Worker, l.Hung)
		case l.Killed:
		case l.Leaked != "":
			c.violate(ruleLeaked, l.End, "worker %d: %s", l.Worker, l.Leaked)
		case !l.Closed:
			c.violate(ruleLeaked, l.End, "worker %d died or did not close", l.Worker)
		case !called[l.Worker]:
			c.violate(ruleLeaked, l.End, "worker %d made no call", l.Worker)
		}
	}
}
