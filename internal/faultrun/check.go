package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// history is all that was written down of a run.
type history struct {
	Terms    terms
	Calls    []call
	Requests []request
	Faults   []injected
	Busy     []injected // what nobody injected: see the kind busy
	Lives    []life
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
	answers  map[identity][]request
	killed   map[int]time.Duration
	frozen   map[int][]injected
	rows     map[string]*row
	verdict
}

func check(h history) verdict {
	c := &checker{history: &h, sessions: map[string][]call{}, silent: map[string][]call{}, answers: map[identity][]request{},
		killed: map[int]time.Duration{}, frozen: map[int][]injected{}, rows: map[string]*row{}}
	c.index()
	c.tokens()
	c.revoked()
	c.outcomes()
	c.requests()
	c.lost()
	c.lives()
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
		if r.Status == 200 && r.Error == "" && r.Answered > 0 {
			c.answers[r.For] = append(c.answers[r.For], r)
		}
	}
	for _, a := range c.answers {
		slices.SortFunc(a, func(x, y request) int { return cmp.Compare(x.Answered, y.Answered) })
	}
	for _, l := range c.Lives {
		if l.Killed {
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
		if explained := c.during(b.Start, b.Start, func(k *kind) bool { return k.away }); len(explained) > 0 || c.stopped(b.Worker, b.Start, b.End) > 0 {
			continue
		}
		if n := len(together); n > 0 && b.Start <= together[n-1].End+near {
			together[n-1].End = max(together[n-1].End, b.End)
		} else {
			b.Worker = -1
			together = append(together, b)
		}
	}
	c.Faults = append(slices.Clone(c.Faults), together...)
	slices.SortFunc(c.Faults, func(a, b injected) int { return cmp.Compare(a.Start, b.Start) })
	for _, f := range c.Faults {
		c.row(f.Kind).Injected++
	}
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

// tokens checks what was handed out against what was asked for, and against the time.
func (c *checker) tokens() {
	for _, x := range c.Calls {
		if x.Fail != "" || x.Flow == flowSignOut || x.End == 0 {
			continue
		}
		t := x.Token
		oid, _, _ := strings.Cut(x.User, ".")
		resource, permission := x.Scope[:strings.LastIndexByte(x.Scope, '/')], x.Scope[strings.LastIndexByte(x.Scope, '/')+1:]
		if x.Flow == flowApp {
			permission = ""
		}
		if t.Hash == "" || t.Subject != oid || t.Tenant != x.Tenant || t.Audience != resource || permission != "" && !slices.Contains(strings.Fields(t.Scopes), permission) {
			c.violate(ruleWrong, x.End, "worker %d asked for %s, user %.8s, tenant %.8s, %s, and got a token of user %.8s, tenant %.8s, audience %s, scopes %q",
				x.Worker, x.Flow, x.User, x.Tenant, x.Scope, t.Subject, t.Tenant, t.Audience, t.Scopes)
		}
		if end := x.End - c.stopped(x.Worker, x.Start, x.End); t.Expires <= end {
			c.violate(ruleExpired, x.End, "worker %d: %s got a token %v after its end", x.Worker, x.Flow, end-t.Expires)
		}
	}
}

// revoked checks that no token of before a sign-out is handed out after it: not at all by the instance that
// carried it out, and by others for LocalTTL after Redis could last not be asked.
func (c *checker) revoked() {
	seen := map[string]time.Duration{} // when a token was first handed out
	for _, x := range c.Calls {
		if at, ok := seen[x.Token.Hash]; x.Token.Hash != "" && x.End > 0 && (!ok || x.End < at) {
			seen[x.Token.Hash] = x.End
		}
	}
	for user, calls := range c.silent {
		for _, x := range calls {
			if x.Flow != flowSilent {
				continue
			}
			var out call
			for _, s := range c.sessions[user] {
				if s.Flow == flowSignOut && s.Fail == "" && s.End > 0 && s.End < x.Start {
					out = s
				}
			}
			if out.End == 0 || x.Token.Issued+time.Second > out.Start && seen[x.Token.Hash] >= out.Start {
				continue
			}
			limit := out.End
			if x.Worker != out.Worker {
				limit += c.Terms.LocalTTL + near
				for _, f := range c.during(out.Start, x.Start, func(k *kind) bool { return k.away }) {
					limit = max(limit, f.End+kindNamed(f.Kind).after+c.Terms.LocalTTL+near)
				}
				limit += c.stopped(x.Worker, out.Start, x.Start)
			}
			// A total loss right after a sign-out may undo it, as the README says: an instance that had not heard of it
			// takes the loss for one.
			undone := len(c.during(out.Start, out.End+c.Terms.LocalTTL+near, func(k *kind) bool { return k.loses || k.rollsBack })) > 0
			if x.Start > limit && !undone {
				c.violate(ruleRevoked, x.Start, "worker %d handed out a token of user %.8s %v after the sign-out that worker %d had carried out",
					x.Worker, user, x.Start-out.End, out.Worker)
			}
		}
	}
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

// knows tells whether a worker has had a user's tokens in its hands since a moment.
func (c *checker) knows(worker int, user string, since, before time.Duration) bool {
	return slices.ContainsFunc(c.silent[user], func(x call) bool {
		return x.Worker == worker && x.End >= since && x.End < before
	})
}

// outcomes checks failures and durations, and counts the rows.
func (c *checker) outcomes() {
	for _, x := range c.Calls {
		if x.End == 0 || x.Flow == flowVerify {
			continue
		}
		met := c.during(x.Start, x.End, nil)
		kinds := map[string]bool{}
		for _, f := range met {
			kinds[f.Kind] = true
		}
		if len(kinds) == 0 {
			kinds[noFault] = true
		}
		why, excused := "", true
		out := false // a user who is not signed in: no failure, but the right answer
		if x.Fail != "" {
			why, excused = c.excuse(x)
			out = why == whySignedOut
		}
		took := x.End - x.Start - c.stopped(x.Worker, x.Start, x.End)
		for k := range kinds {
			r := c.row(k)
			r.Calls++
			r.Longest = max(r.Longest, took)
			if x.Fail != "" && !out {
				r.Failed++
			}
		}
		if !excused {
			c.violate(ruleFailed, x.End, "worker %d: %s of user %.8s, tenant %.8s, %s: %s: %s", x.Worker, x.Flow, x.User, x.Tenant, x.Scope, x.Fail, x.Error)
		}
		limit := slack
		for _, f := range met {
			limit += kindNamed(f.Kind).slow(c.Terms, f)
		}
		limit = min(limit, c.Terms.CallTimeout+time.Second)
		if took > limit {
			c.violate(ruleSlow, x.End, "worker %d: %s of user %.8s, tenant %.8s, %s took %v, where %v is the bound", x.Worker, x.Flow, x.User, x.Tenant, x.Scope, took, limit)
		}
	}
}

const whySignedOut = "the user is not signed in"

// excuse tells what policy says of a call that failed.
func (c *checker) excuse(x call) (why string, ok bool) {
	entra := c.during(x.Start, x.End, func(k *kind) bool { return k.entra })
	away := c.during(x.Start, x.End, func(k *kind) bool { return k.away })
	// A process that was stopped finds on waking that all its operations took too long.
	for _, f := range c.frozen[x.Worker] {
		if f.Start <= x.End && f.End+recovery >= x.Start {
			away = append(away, f)
		}
	}
	since := time.Duration(0)
	switch x.Flow {
	case flowSignIn:
		// Entra ID is needed, Redis is not.
		return "Entra ID fails", len(entra) > 0 && (x.Fail == failEntra || x.Fail == failDeadline)
	case flowSignOut:
		return "Redis is away", len(away) > 0 && (x.Fail == failRedis || x.Fail == failDeadline)
	case flowSilent:
		var ok bool
		if since, ok = c.signedIn(x.User, x.Start, x.End); !ok {
			return whySignedOut, true
		}
	}
	if x.Fail == failNoAccount && x.Flow == flowSilent {
		if c.damaged(x.User, since, x.End) {
			return "its record was damaged", true
		}
		in := c.signInAt(x.User, since)
		stored := c.stored(in.Worker, in.Start, in.End)
		known := stored // before, what another process has may be of the session before this one
		if x.Worker == in.Worker {
			known = since
		}
		switch {
		case c.knows(x.Worker, x.User, known, x.Start):
			return "", false
		case x.Start < stored:
			return "the sign-in may not be stored yet", true
		case c.unstored(in.Worker, in.Start, in.End):
			return whyUnstored, true
		}
		lost := c.during(since, x.End, func(k *kind) bool { return k.loses })
		return "Redis cannot tell, or has lost it", len(away)+len(lost) > 0
	}
	if x.Fail == failGrant && c.Terms.Rotate && x.Flow == flowSilent {
		// Two redeem one refresh token where Redis cannot keep them apart.
		apart := c.during(since, x.End, func(k *kind) bool { return k.away || k.loses || k.entra || k.extra(c.Terms) > 0 })
		return "a second redemption", len(apart) > 0
	}
	if x.Fail == failEntra || x.Fail == failDeadline {
		return "Entra ID fails, and no token that lives is there", len(entra) > 0 && !c.has(x)
	}
	return "", false
}

// damaged tells whether a user's record was damaged by hand.
func (c *checker) damaged(user string, since, before time.Duration) bool {
	return slices.ContainsFunc(c.Faults, func(f injected) bool {
		return f.End >= since && f.Start <= before && slices.Contains(f.Users, user)
	})
}

// has tells whether the fleet has a token for a call that lives: one that Entra ID gave and that nothing has befallen.
func (c *checker) has(x call) bool {
	lives := c.Terms.Usable
	if x.Flow != flowOBO { // MSAL's manager of those refuses a token's last minutes
		lives += refusedMinutes
	}
	for _, a := range slices.Backward(c.answers[x.identity()]) {
		switch {
		case a.Answered+near >= x.Start:
			continue
		case a.Answered+lives <= x.End+time.Second:
			return false
		}
		if x.Flow == flowSilent {
			if since, ok := c.signedIn(x.User, x.Start, x.End); !ok || a.Arrived < since {
				return false
			}
		}
		if k, ok := c.killed[a.Worker]; ok && k < a.Answered+near {
			continue
		}
		if c.stopped(a.Worker, a.Arrived, a.Answered+near) > 0 {
			continue
		}
		befallen := c.during(a.Arrived, x.End, func(k *kind) bool { return k.away || k.loses || k.damages })
		return len(befallen) == 0
	}
	return false
}

// requests checks that the fleet asks for a token only when it has none, or when it is due. What a fault costs more
// is bounded for each token and fault.
func (c *checker) requests() {
	type budget struct {
		fault int
		of    identity
	}
	spent := map[budget]int{}
	due := c.Terms.due() - 2*time.Second // times are whole seconds in several places
	for _, id := range slices.SortedFunc(maps.Keys(c.answers), func(a, b identity) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
		all := slices.DeleteFunc(slices.Clone(c.Requests), func(r request) bool { return r.For != id })
		slices.SortFunc(all, func(a, b request) int { return cmp.Compare(a.Arrived, b.Arrived) })
		for _, r := range all {
			if r.Grant == "authorization_code" {
				continue
			}
			// The last answer before it, and whether it would have done.
			var had request
			for _, a := range c.answers[id] {
				if a.ID != r.ID && a.Answered < r.Arrived {
					had = a
				}
			}
			if had.ID == 0 || r.Arrived >= had.Answered+due || c.sessionBetween(id.User, had.Arrived, r.Arrived) {
				continue
			}
			c.charge(r, had, id, func(i, bound int) bool {
				if b := (budget{i, id}); spent[b] < bound {
					spent[b]++
					return true
				}
				return false
			})
		}
	}
}

// charge finds the fault that a needless request is owed to.
func (c *checker) charge(r, had request, id identity, pay func(fault, bound int) bool) {
	for i, f := range slices.Backward(c.Faults) {
		k := kindNamed(f.Kind)
		if f.Start <= r.Arrived && f.End+k.after >= had.Arrived && pay(i, k.extra(c.Terms)) {
			c.row(f.Kind).Extra++
			return
		}
	}
	c.row(noFault).Extra++
	c.violate(ruleRequests, r.Arrived, "worker %d asked for user %.8s, tenant %.8s, %s (%s, request %d, status %d) %v after worker %d had got it (request %d)",
		r.Worker, id.User, id.Tenant, id.Scope, r.Grant, r.ID, r.Status, r.Arrived-had.Answered, had.Worker, had.ID)
}

func (c *checker) sessionBetween(user string, a, b time.Duration) bool {
	return slices.ContainsFunc(c.sessions[user], func(s call) bool { return s.Start <= b && (s.End >= a || s.End == 0) })
}

// lost checks that everyone who is signed in at the end can be refreshed: a new process, which knows only what is in
// Redis, redeems everyone's refresh token.
func (c *checker) lost() {
	for _, x := range c.Calls {
		if x.Flow != flowVerify || x.Fail == "" {
			continue
		}
		since, ok := c.signedIn(x.User, x.Start, x.End)
		if !ok {
			continue
		}
		fault, why := c.mayLose(x.User, since)
		name := c.lastFault(x.User, since)
		if fault != "" {
			name = fault
			c.Losses = append(c.Losses, loss{x.User, why, name})
		} else {
			c.violate(ruleLost, x.End, "user %.8s, signed in at %v: %s: %s", x.User, since, x.Fail, x.Error)
		}
		c.row(name).Lost++
	}
}

// mayLose tells whether a bound of a fault allows that the refresh token of a user who signed in at since is lost.
func (c *checker) mayLose(user string, since time.Duration) (fault, why string) {
	for _, f := range c.Faults {
		if f.End < since {
			continue
		}
		k := kindNamed(f.Kind)
		if k.damages && slices.Contains(f.Users, user) && (!k.rollsBack || c.Terms.Rotate) {
			return f.Kind, "its only copy was damaged"
		}
		if k.loses {
			// Whoever knew it then writes it back, if it lives to meet the user again.
			survivor := slices.ContainsFunc(c.silent[user], func(x call) bool {
				if x.End < since || x.End > f.Start {
					return false
				}
				_, dead := c.killed[x.Worker]
				return !dead || c.knows(x.Worker, user, f.End+k.after, time.Duration(1<<62))
			})
			if !survivor || c.Terms.Rotate {
				return f.Kind, "Redis lost it, and so did every process that knew it"
			}
		}
		if c.Terms.Rotate && k.name == kindLostAnswer {
			return f.Kind, "Entra ID's answer was lost after the old token had died"
		}
	}
	if in := c.signInAt(user, since); c.unstored(in.Worker, in.Start, in.End) {
		return kindKill, whyUnstored
	}
	if !c.Terms.Rotate {
		return "", ""
	}
	for _, r := range c.Requests {
		if r.For.User == user && r.Arrived >= since && r.Grant == "refresh_token" && c.unstored(r.Worker, r.Arrived, r.Answered) {
			return kindKill, whyUnstored
		}
	}
	return "", ""
}

const whyUnstored = "the process was killed between Entra ID's answer and its storing"

// unstored tells whether a process may have been killed before it could store the answer to a request. While Redis is
// away or takes no writes, what it has waits in its memory.
func (c *checker) unstored(worker int, asked, answered time.Duration) bool {
	killed, ok := c.killed[worker]
	if !ok || killed < asked {
		return false
	}
	return answered == 0 || killed < c.stored(worker, asked, answered)
}

// stored is when the answer to a request is surely in Redis.
func (c *checker) stored(worker int, asked, answered time.Duration) time.Duration {
	stored := answered + near
	for again := true; again; {
		again = false
		for _, f := range c.during(asked, stored, func(k *kind) bool { return k.away || k.full || k.name == kindFreeze }) {
			if f.Kind == kindFreeze && f.Worker != worker {
				continue
			}
			if until := f.End + kindNamed(f.Kind).after; until > stored {
				stored, again = until, true
			}
		}
	}
	return stored
}

// lastFault is the fault before the first failure that a loss showed in, or the last of all.
func (c *checker) lastFault(user string, since time.Duration) string {
	at := time.Duration(1 << 62)
	for _, x := range c.Calls {
		if x.User == user && x.Flow == flowSilent && x.Start > since && x.Fail != "" {
			at = min(at, x.Start)
		}
	}
	name := noFault
	for _, f := range c.Faults {
		if f.Start <= at {
			name = f.Kind
		}
	}
	return name
}

// lives checks that every process that was not killed closed and left nothing running.
func (c *checker) lives() {
	called := map[int]bool{}
	for _, x := range c.Calls {
		called[x.Worker] = true
	}
	for _, l := range c.Lives {
		switch {
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
