package main

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// whole is what times lose that are kept in whole seconds: one in the token, one in MSAL's document.
const whole = 2 * time.Second

// tokens checks what was handed out against what was asked for, and against the time.
func (c *checker) tokens() {
	for _, x := range c.Calls {
		if x.Fail != "" || x.removes() || x.End == 0 {
			continue
		}
		t := x.Token
		slash := strings.LastIndexByte(x.Scope, '/')
		resource, permission := x.Scope[:slash], x.Scope[slash+1:]
		if x.Flow == flowApp || x.Flow == flowChallenge {
			permission = ""
		}
		if t.Hash == "" || t.Client != cmp.Or(x.Client, clientID) || t.CAE != x.CAE ||
			t.Subject != subjectIn(x.Tenant, x.User) || t.Tenant != x.Tenant || t.Audience != resource ||
			permission != "" && !slices.Contains(strings.Fields(t.Scopes), permission) {
			c.violate(ruleWrong, x.End, "worker %d asked for %s, user %.8s, tenant %.8s, client %q, CAE %t, %s, and got a "+
				"token of user %.8s, tenant %.8s, client %q, CAE %t, audience %s, scopes %q",
				x.Worker, x.Flow, x.User, x.Tenant, cmp.Or(x.Client, clientID), x.CAE, x.Scope, t.Subject, t.Tenant, t.Client,
				t.CAE, t.Audience, t.Scopes)
			continue
		}
		if x.Flow == flowChallenge && t.Issued+whole < x.Start {
			c.violate(ruleWrong, x.End, "worker %d answered a claims challenge with a token of %v before it",
				x.Worker, x.Start-t.Issued)
		}
		end := x.End - c.stopped(x.Worker, x.Start, x.End)
		if t.Expires <= end {
			c.violate(ruleExpired, x.End, "worker %d: %s got a token %v after its end", x.Worker, x.Flow, end-t.Expires)
			continue
		}
		// In its last five minutes a token serves only while a new one cannot be had, or not soon.
		if old := end - t.Issued - c.Terms.Usable - whole; old > 0 {
			if held := c.during(x.Start, x.End, func(k *kind) bool { return k.entra || k.delays }); len(held) == 0 {
				c.violate(ruleExpired, x.End, "worker %d: %s got a token %v into its last five minutes, and nothing kept it from "+
					"getting a new one", x.Worker, x.Flow, old)
			}
		}
	}
}

// revoked checks that no token of before a sign-out is handed out after it: not at all by the instance that
// carried it out, and by others for LocalTTL after Redis could last not be asked. So with an app's tokens that were to
// be forgotten, and with those on behalf of a user who has signed out.
func (c *checker) revoked() {
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
			if in, ok := c.signInOf(x); out.End == 0 || !ok || in.Start >= out.Start {
				continue
			}
			if x.Start > c.heard(out, x) {
				c.violate(ruleRevoked, x.Start,
					"worker %d handed out a token of user %.8s %v after the sign-out that worker %d had carried out", x.Worker, user,
					x.Start-out.End, out.Worker)
			}
		}
	}
	for owner, forgets := range c.forgets {
		for _, x := range c.Calls {
			if x.Flow != flowApp && x.Flow != flowOBO || x.identity().owner() != owner || x.Fail != "" {
				continue
			}
			var out call
			for _, f := range forgets {
				if f.Fail == "" && f.End > 0 && f.End < x.Start {
					out = f
				}
			}
			if out.End > 0 && x.Token.Issued+time.Second < out.Start && x.Start > c.heard(out, x) {
				c.violate(ruleRevoked, x.Start, "worker %d handed out a token of %s for %.8s %v after worker %d had it forgotten",
					x.Worker, x.Flow, owner, x.Start-out.End, out.Worker)
			}
		}
	}
}

// heard is until when a call may still get what was there before a sign-out.
func (c *checker) heard(out, x call) time.Duration {
	// A loss may undo it, as the README says: a failover may lose it with the last writes, and an instance that has
	// neither looked nor heard of it takes a loss for one. Connections that were cut about then have lost the message.
	until := out.End + c.Terms.LocalTTL + near
	if len(c.during(out.Start, out.End+near, func(k *kind) bool { return k.away })) > 0 {
		until = x.Start
	}
	from := out.Start
	if out.Flow != flowSignOut {
		from = x.Token.Issued // an eviction may take the list of the answers that are to be forgotten with the tokens
	}
	if len(c.during(from, until, func(k *kind) bool { return k.loses })) > 0 {
		return forever
	}
	limit := out.End
	if x.Worker != out.Worker {
		limit += c.Terms.LocalTTL + near
		for _, f := range c.during(out.Start, x.Start, func(k *kind) bool { return k.away }) {
			limit = max(limit, f.End+kindNamed(f.Kind).after+c.Terms.LocalTTL+near)
		}
		limit += c.stopped(x.Worker, out.Start, x.Start)
	}
	return limit
}
