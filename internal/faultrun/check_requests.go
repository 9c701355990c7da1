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
	of := map[identity][]request{}
	for _, r := range c.Requests {
		if r.Grant != "authorization_code" && !r.Claims { // those are always needed
			of[r.For] = append(of[r.For], r)
		}
	}
	spent := map[budget]int{}
	for _, id := range sorted(of) {
		c.needless(id, of[id], spent)
	}
	// One lease is for all scopes of a user: two at once would redeem one refresh token twice.
	leased := map[identity][]request{}
	for id, all := range of {
		if id.User != "" {
			id.Scope = ""
		}
		leased[id] = append(leased[id], all...)
	}
	for _, id := range sorted(leased) {
		c.together(id, leased[id], spent)
	}
}

func sorted(of map[identity][]request) []identity {
	for _, all := range of {
		slices.SortFunc(all, func(a, b request) int { return cmp.Compare(a.Arrived, b.Arrived) })
	}
	return slices.SortedFunc(maps.Keys(of), func(a, b identity) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// needless checks the requests for one token against those that brought it.
func (c *checker) needless(id identity, all []request, spent map[budget]int) {
	due := c.Terms.due() - whole
	for _, r := range all {
		if r.refused() {
			continue // counted with what Entra ID refuses
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
		if id.User == "" && c.forgottenBetween(id.Tenant, had.Arrived, r.Arrived) {
			continue
		}
		if r.Session != had.Session && r.Session != "" && had.Session != "" {
			continue // a process that had not heard of a sign-out asked: nobody keeps what it got
		}
		c.charge(r, had.Arrived, id, spent, fmt.Sprintf("%v after worker %d had got it (request %d)", r.Arrived-had.Answered, had.Worker, had.ID))
	}
}

// together checks that the requests under one lease follow one another, and how many are made while Entra ID refuses.
func (c *checker) together(id identity, all []request, spent map[budget]int) {
	for i, r := range all {
		for _, q := range all[:i] {
			if (q.Answered == 0 || q.Answered > r.Arrived) && !c.sessionBetween(id.User, q.Arrived, r.Arrived) {
				c.charge(r, q.Arrived, id, spent, fmt.Sprintf("while worker %d was asking (request %d)", q.Worker, q.ID))
				break
			}
		}
		if !r.refused() {
			continue
		}
		paid := false
		for f, x := range slices.Backward(c.Faults) {
			if k := kindNamed(x.Kind); k.fails > 0 && x.Start <= r.Arrived && x.End+near >= r.Arrived {
				limit := k.fails
				if len(c.during(r.Arrived, r.Arrived, func(k *kind) bool { return k.away })) > 0 {
					limit *= each(c.Terms) // nobody can tell the others of the pause
				}
				if b := (budget{f, r.For, true}); spent[b] < limit {
					spent[b]++
					paid = true
				}
				break
			}
		}
		if !paid {
			c.charge(r, r.Arrived, id, spent, "when Entra ID had refused it often enough")
		}
	}
}

// charge finds the fault that a needless request is owed to.
func (c *checker) charge(r request, from time.Duration, id identity, spent map[budget]int, text string) {
	for i, f := range slices.Backward(c.Faults) {
		k, b := kindNamed(f.Kind), budget{i, id, false}
		if f.Start <= r.Arrived && f.End+k.after >= from && spent[b] < k.extra(c.Terms) {
			spent[b]++
			c.row(f.Kind).Extra++
			return
		}
	}
	c.row(noFault).Extra++
	c.violate(ruleRequests, r.Arrived, "worker %d asked for user %.8s, tenant %.8s, %s (%s, request %d, status %d %s) %s",
		r.Worker, id.User, id.Tenant, r.For.Scope, r.Grant, r.ID, r.Status, r.Error, text)
}

// forgottenBetween tells whether the app's tokens of a tenant were to be forgotten in a time. Redis may have learned of it later.
func (c *checker) forgottenBetween(tenant string, a, b time.Duration) bool {
	return slices.ContainsFunc(c.forgets[tenant], func(f call) bool { return f.Start <= b && c.stored(f.Worker, f.Start, f.End) >= a })
}

func (c *checker) sessionBetween(user string, a, b time.Duration) bool {
	return slices.ContainsFunc(c.sessions[user], func(s call) bool { return s.Start <= b && (s.End >= a || s.End == 0) })
}
