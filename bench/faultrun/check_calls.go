package main

import (
	"slices"
	"strings"
	"time"
)

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
			c.violate(ruleFailed, x.End, "worker %d: %s of user %.8s, tenant %.8s, %s: %s: %s", x.Worker, x.Flow, x.User,
				x.Tenant, x.Scope, x.Fail, x.Error)
		}
		limit := slack
		for _, f := range met {
			k := kindNamed(f.Kind)
			limit += k.slow(c.Terms, f)
			if k.sick && f.Worker == x.Worker {
				limit += itself(c.Terms, f)
			}
		}
		limit = min(limit, c.Terms.CallTimeout+time.Second)
		if took > limit {
			c.violate(ruleSlow, x.End, "worker %d: %s of user %.8s, tenant %.8s, %s took %v, where %v is the bound", x.Worker,
				x.Flow, x.User, x.Tenant, x.Scope, took, limit)
		}
	}
}

const whySignedOut = "the user is not signed in"

// excuse tells what policy says of a call that failed.
func (c *checker) excuse(x call) (why string, ok bool) {
	entra := len(c.during(x.Start, x.End, func(k *kind) bool { return k.entra })) > 0 || c.paused(x)
	away := len(c.during(x.Start, x.End, func(k *kind) bool { return k.away })) > 0
	// A process that was stopped finds on waking that all its operations took too long.
	away = away || slices.ContainsFunc(c.frozen[x.Worker], func(f injected) bool {
		return f.Start <= x.End && f.End+recovery >= x.Start
	})
	failed := x.Fail == failEntra || x.Fail == failDeadline
	switch {
	case failed && !x.removes() && c.sick(x):
		return "its own way to Entra ID is broken", true
	case x.Flow == flowSignIn:
		// Entra ID is needed, Redis is not.
		return "Entra ID fails", entra && failed
	case x.removes():
		return "Redis is away", away && (x.Fail == failRedis || x.Fail == failDeadline)
	case failed && x.Flow == flowChallenge:
		return "Entra ID fails, and what is there is not what is asked for", entra
	case failed:
		return "Entra ID fails, and no token that lives is there", entra && !c.has(x)
	case x.Flow != flowSilent:
		return "", false
	}
	since, in := c.signedIn(x.User, x.Start, x.End)
	switch {
	case !in:
		return whySignedOut, x.Fail == failNoAccount || x.Fail == failGrant
	case x.Fail == failNoAccount:
		return c.unknown(x, since, away)
	case x.Fail == failGrant && c.behind(x, since):
		return "the sign-in waits for Redis behind the sign-out before it, and what there was is signed out", true
	case x.Fail == failGrant && c.Terms.Rotate:
		if away || c.unshared(x) {
			return "another instance redeemed the refresh token, and Redis cannot say so", true
		}
		if c.unnoticed(x, since) {
			return "Redis has lost the newest refresh token, and the instance that knows it has not noticed yet", true
		}
		if c.damagedSince(x.User, since, x.End, x.Start) {
			return "an instance that knew an older refresh token mended the damaged record with it", true
		}
		if c.withheld(x) {
			return "a stopped instance has the refresh token that replaced this one", true
		}
		_, why := c.mayLose(x.User, since, x.End)
		return why, why != ""
	}
	return "", false
}

// sick tells whether a call may have met a fault of its own worker alone.
func (c *checker) sick(x call) bool {
	sick := c.during(x.Start, x.End, func(k *kind) bool { return k.sick })
	return slices.ContainsFunc(sick, func(f injected) bool { return f.Worker == x.Worker })
}

// behind tells whether the sign-in of a session may have reached Redis after a call began: Redis was away.
func (c *checker) behind(x call, since time.Duration) bool {
	in := c.signInAt(x.User, since)
	stored := c.stored(in.Worker, in.Start, in.End)
	return stored > in.End+near && x.Start < stored
}

// unknown tells why an instance may know nothing of a user who has signed in.
func (c *checker) unknown(x call, since time.Duration, away bool) (why string, ok bool) {
	in := c.signInAt(x.User, since)
	stored := c.stored(in.Worker, in.Start, in.End)
	switch {
	case c.knowsAll(x.Worker, x.User, since, x.Start):
		return "", false
	case x.Start < stored:
		return "the sign-in may not be stored yet", true
	case c.unstored(in.Worker, in.Start, in.End):
		return whyUnstored, true
	case away:
		return "Redis cannot tell", true
	}
	for _, f := range c.Faults {
		k := kindNamed(f.Kind)
		if f.over() < in.Start || f.Start > x.End || !k.loses && !(k.damages && slices.Contains(f.Users, x.User)) {
			continue
		}
		if !c.restored(x.User, since, f, x.Start) {
			return "Redis has lost it, and none who knows it has noticed yet", true
		}
	}
	return "", false
}

// knowsAll is knows, of a worker whose knowledge is not what a damaged record still showed.
func (c *checker) knowsAll(worker int, user string, since, before time.Duration) bool {
	return slices.ContainsFunc(c.silent[user], func(x call) bool {
		return x.Worker == worker && x.End >= since && x.End < before && c.ofSession(x) &&
			!c.damagedSince(user, since, x.End, x.Start)
	})
}

// restored tells whether what a fault took from a user's record is surely back at a moment. What is gone is: an
// instance that knew it was asked for the user's token since, which it had to look up, because what it knew was older
// than LocalTTL. What is damaged shows only to who reads it, so it is back when an instance that knew it has redeemed
// the refresh token: it wrote a new one and the account. Who has read the damaged record does not look again before
// LocalTTL.
func (c *checker) restored(user string, since time.Duration, f injected, by time.Duration) bool {
	if kindNamed(f.Kind).damages {
		return slices.ContainsFunc(c.Requests, func(r request) bool {
			return r.For.User == user && r.Grant == "refresh_token" && r.Status == 200 && r.Error == "" &&
				r.Arrived > f.End && r.Answered > 0 && r.Answered+c.Terms.LocalTTL+near < by &&
				c.knows(r.Worker, user, since, f.Start) &&
				len(c.during(f.Start, r.Answered+near, func(k *kind) bool { return k.away || k.full })) == 0
		})
	}
	after := f.End + kindNamed(f.Kind).after + c.Terms.LocalTTL
	return slices.ContainsFunc(c.silent[user], func(x call) bool {
		return x.Start > after && x.End+near < by && c.knows(x.Worker, user, since, f.Start) &&
			len(c.during(f.Start, x.End+near, func(k *kind) bool { return k.away || k.full })) == 0
	})
}

// unshared tells whether another instance redeemed the user's refresh token, and had perhaps not stored the next one
// yet.
func (c *checker) unshared(x call) bool {
	return slices.ContainsFunc(c.Requests, func(r request) bool {
		return r.For.User == x.User && r.Grant == "refresh_token" && r.Status == 200 && r.Worker != x.Worker &&
			r.Answered < x.End && c.stored(r.Worker, r.Arrived, r.Answered) > x.Start
	})
}

// unnoticed tells whether Redis may have lost a user's newest refresh token, and the instance that had got it was not
// asked for the user since.
func (c *checker) unnoticed(x call, since time.Duration) bool {
	var newest request
	for _, r := range c.Requests {
		if r.For.User == x.User && r.Grant == "refresh_token" && r.Status == 200 && r.Answered > newest.Answered &&
			r.Answered < x.End && r.Arrived > since {
			newest = r
		}
	}
	return newest.ID != 0 && newest.Worker != x.Worker && slices.ContainsFunc(c.Faults, func(f injected) bool {
		k := kindNamed(f.Kind)
		return k.loses && f.End >= newest.Arrived && f.Start <= x.End &&
			!slices.ContainsFunc(c.silent[x.User], func(y call) bool {
				return y.Worker == newest.Worker && y.Start > f.End+k.after+c.Terms.LocalTTL && y.End+near < x.Start
			})
	})
}

// damagedSince tells whether a user's record was damaged in a session until a moment, and perhaps not put right by
// another.
func (c *checker) damagedSince(user string, since, until, by time.Duration) bool {
	return slices.ContainsFunc(c.Faults, func(f injected) bool {
		return kindNamed(f.Kind).damages && slices.Contains(f.Users, user) && f.End >= since && f.Start <= until &&
			!c.restored(user, since, f, by)
	})
}

// withheld tells whether a stopped instance was in the middle of redeeming a user's refresh token, and may not have
// given the next one to the others yet.
func (c *checker) withheld(x call) bool {
	return slices.ContainsFunc(c.Requests, func(r request) bool {
		return r.For.User == x.User && r.Grant == "refresh_token" &&
			slices.ContainsFunc(c.frozen[r.Worker], func(f injected) bool {
				return f.Start <= r.Answered+near && f.End >= r.Arrived && f.Start <= x.End &&
					f.End+kindNamed(f.Kind).after >= x.Start
			})
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
		if c.forgottenBetween(x.identity().owner(), a.Arrived, x.End) {
			return false
		}
		if k, ok := c.killed[a.Worker]; ok && k < a.Answered+near {
			continue
		}
		if c.stopped(a.Worker, a.Arrived, a.Answered+near) > 0 {
			continue
		}
		if a.Worker != x.Worker && c.stored(a.Worker, a.Arrived, a.Answered) > x.Start {
			continue // Redis took no writes: it waits in the memory of the process that got it
		}
		befallen := c.during(a.Arrived, x.End, func(k *kind) bool { return k.away || k.loses || k.damages })
		return len(befallen) == 0
	}
	return false
}

// paused tells whether the fleet still keeps the pause after Entra ID has failed several times in a row: a second after
// the first, twice as long after each next, a minute at most, and up to a quarter more (docs/guarantees.md).
func (c *checker) paused(x call) bool {
	failures, last := 0, time.Duration(0)
	for _, r := range c.Requests {
		switch {
		case r.For != x.identity() || r.Arrived >= x.Start:
			continue
		case !r.refused():
			failures = 0
			continue
		case failures == 0 || r.Arrived > last+near: // else it repeats the one before
			failures++
		}
		last = max(r.Arrived, r.Answered)
	}
	if failures == 0 {
		return false
	}
	pause := min(time.Second<<min(failures-1, 6), time.Minute)
	return x.Start < last+pause+pause/4+near
}

// refused tells whether a request met a fault of Entra ID.
func (r request) refused() bool { return strings.HasPrefix(r.Error, "fault:") }
