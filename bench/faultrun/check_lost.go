package main

import (
	"slices"
	"time"
)

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
		fault, why := c.mayLose(x.User, since, x.End)
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

const (
	whyUnstored = "the process was killed between Entra ID's answer and its storing"
	whyUnknown  = "Redis lost it, and every process that knew it was killed before it could write it back"
	whyDamaged  = "its copy in Redis was damaged, and every process that knew it was killed before it could write it back"
	whyRolled   = "an older one was put in its place, which was dead by rotation"
	whyTotal    = "Redis lost everything, and rotation had killed what others still knew"
	whyDropped  = "Entra ID's answer was lost on its way, after rotation had killed the old one"
)

const forever = time.Duration(1 << 62)

// mayLose tells whether a bound of a fault allows that the refresh token of a user who signed in at since is lost at
// a later moment.
func (c *checker) mayLose(user string, since, by time.Duration) (fault, why string) {
	in := c.signInAt(user, since)
	for _, f := range c.Faults {
		if f.over() < in.Start || f.Start > by {
			continue
		}
		k := kindNamed(f.Kind)
		damaged := k.damages && slices.Contains(f.Users, user)
		switch {
		case damaged && k.rollsBack && c.Terms.Rotate:
			return f.Kind, whyRolled
		case damaged && !k.rollsBack && !c.survives(user, since, f):
			return f.Kind, whyDamaged
		case k.loses && !c.survives(user, since, f):
			return f.Kind, whyUnknown
		case k.total && c.Terms.Rotate:
			return f.Kind, whyTotal
		case k.name == kindLostAnswer && c.Terms.Rotate && slices.ContainsFunc(c.Requests, func(r request) bool {
			return r.For.User == user && r.Grant == "refresh_token" && r.refused() && r.Arrived >= max(since, f.Start) &&
				r.Arrived <= f.End+near
		}):
			return f.Kind, whyDropped
		}
	}
	if c.unstored(in.Worker, in.Start, in.End) {
		return kindKill, whyUnstored
	}
	if !c.Terms.Rotate {
		return "", ""
	}
	for _, r := range c.Requests {
		if r.For.User == user && r.Arrived >= since && r.Grant == "refresh_token" &&
			c.unstored(r.Worker, r.Arrived, r.Answered) {
			return kindKill, whyUnstored
		}
	}
	return "", ""
}

// survives tells whether a process that knew a user's tokens when a fault took them from Redis lives on, or met the
// user again after it and lived until Redis had taken what it wrote back.
func (c *checker) survives(user string, since time.Duration, f injected) bool {
	return slices.ContainsFunc(c.silent[user], func(x call) bool {
		if x.End < since || x.End > max(f.Start, since) || !c.ofSession(x) {
			return false
		}
		killed, dead := c.killed[x.Worker]
		return !dead || slices.ContainsFunc(c.silent[user], func(y call) bool {
			return y.Worker == x.Worker && y.End >= f.End+kindNamed(f.Kind).after && c.ofSession(y) &&
				c.stored(y.Worker, y.Start, y.End) <= killed
		})
	})
}

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
	at := forever
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
