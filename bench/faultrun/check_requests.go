package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// budget is what one fault may cost more for one token.
type budget struct {
	fault int
	of    identity
	fails bool
}

// requests checks that the fleet asks for a token only when it has none, or when it is due; that it asks once, whatever
// the number of instances; and that it leaves Entra ID in peace after a refusal. What a fault costs more is
// bounded for each token and fault.
func (c *checker) requests() {
	of, leased := map[identity][]request{}, map[identity][]request{}
	for _, r := range c.Requests {
		if r.Grant != "authorization_code" && !r.Claims { // those are always needed
			of[r.For] = append(of[r.For], r)
			leased[r.For.lease()] = append(leased[r.For.lease()], r)
		}
	}
	sorted(leased)
	spent := map[budget]int{}
	for _, id := range sorted(of) {
		for _, r := range of[id] {
			// A request is charged once, whatever speaks against it: to a fault that excuses all of that, which is one that
			// excuses what began last.
			since, why := time.Duration(0), ""
			against := func(from time.Duration, format string, args ...any) {
				if why == "" || from > since {
					since, why = from, fmt.Sprintf(format, args...)
				}
			}
			if r.refused() {
				c.refusals(r, spent, against)
			} else {
				c.needless(r, against)
			}
			c.together(r, leased[id.lease()], against)
			if why != "" {
				c.charge(r, since, spent, why)
			}
		}
	}
}

// lease is what one lease is for: all scopes of a user, because two requests at once would redeem one refresh token
// twice.
func (id identity) lease() identity {
	if id.User != "" {
		id.Scope = ""
	}
	return id
}

// accusation says what speaks against a request, and since when a fault may have led to it.
type accusation func(from time.Duration, format string, args ...any)

func sorted(of map[identity][]request) []identity {
	for _, all := range of {
		slices.SortFunc(all, func(a, b request) int { return cmp.Compare(a.Arrived, b.Arrived) })
	}
	return slices.SortedFunc(maps.Keys(of), func(a, b identity) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

// needless checks a request against those that brought the same token.
func (c *checker) needless(r request, against accusation) {
	id, due := r.For, c.Terms.due()-whole
	// The last answer before it, and whether it would have done.
	var had request
	for _, a := range c.answers[id] {
		if a.ID != r.ID && a.Answered < r.Arrived {
			had = a
		}
	}
	switch {
	case had.ID == 0 || r.Arrived >= had.Answered+due || c.sessionBetween(id.User, had.Arrived, r.Arrived):
	case c.forgottenBetween(id.owner(), had.Arrived, r.Arrived):
	case r.Session != had.Session && r.Session != "" && had.Session != "":
		// A process that had not heard of a sign-out asked: nobody keeps what it got.
	default:
		against(had.Arrived, "%v after worker %d had got it (request %d)", r.Arrived-had.Answered, had.Worker, had.ID)
	}
}

// together checks that the requests under one lease, which are in order, follow one another.
func (c *checker) together(r request, leased []request, against accusation) {
	for _, q := range leased {
		if q.ID == r.ID {
			return
		}
		if (q.Answered == 0 || q.Answered > r.Arrived) && !c.sessionBetween(r.For.User, q.Arrived, r.Arrived) {
			against(q.Arrived, "while worker %d was asking (request %d)", q.Worker, q.ID)
		}
	}
}

// refusals checks how many requests are made while Entra ID refuses.
func (c *checker) refusals(r request, spent map[budget]int, against accusation) {
	for f, x := range slices.Backward(c.Faults) {
		if k := kindNamed(x.Kind); k.fails > 0 && x.Start <= r.Arrived && x.End+near >= r.Arrived {
			limit := k.fails
			if k.unanswered || len(c.during(r.Arrived, r.Arrived, func(k *kind) bool { return k.away })) > 0 {
				limit *= each(c.Terms) // nobody can tell the others of the pause
			}
			if b := (budget{f, r.For, true}); spent[b] < limit {
				spent[b]++
				return
			}
			break
		}
	}
	against(r.Arrived, "when Entra ID had refused it often enough")
}

// charge finds the fault that an extra request is owed to.
func (c *checker) charge(r request, since time.Duration, spent map[budget]int, why string) {
	for i, f := range slices.Backward(c.Faults) {
		k, b := kindNamed(f.Kind), budget{i, r.For, false}
		if f.Start <= r.Arrived && f.End+k.after >= since && spent[b] < k.extra(c.Terms) {
			spent[b]++
			c.row(f.Kind).Extra++
			return
		}
	}
	c.row(noFault).Extra++
	c.violate(ruleRequests, r.Arrived, "worker %d asked for user %.8s, tenant %.8s, %s (%s, request %d, status %d %s) %s",
		r.Worker, r.For.User, r.For.Tenant, r.For.Scope, r.Grant, r.ID, r.Status, r.Error, why)
}

// forgottenBetween tells whether an owner's tokens were to be forgotten in a time. Redis may have learned of it later.
func (c *checker) forgottenBetween(owner string, a, b time.Duration) bool {
	return slices.ContainsFunc(c.forgets[owner], func(f call) bool {
		return f.Start <= b && (f.End == 0 || c.stored(f.Worker, f.Start, f.End) >= a)
	})
}

func (c *checker) sessionBetween(user string, a, b time.Duration) bool {
	return slices.ContainsFunc(c.sessions[user], func(s call) bool { return s.Start <= b && (s.End >= a || s.End == 0) })
}
