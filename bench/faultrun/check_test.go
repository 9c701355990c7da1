package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	tenantA, tenantB = "tenant-a", "tenant-b"
	userA            = "oid-a.tenant-a"
)

// made is a made-up log: three workers, an app's token and a user, all well for a minute. Tests spoil it.
type made struct{ history }

func wellMade() *made {
	m := &made{history{Terms: terms{Workers: 3, LocalTTL: 2 * time.Second, LockTTL: 2 * time.Second,
		OpTimeout: 2 * time.Second, CallTimeout: 20 * time.Second, Usable: 24 * time.Second}}}
	for w := range 4 {
		m.Lives = append(m.Lives, life{Worker: w, Closed: true, End: 70 * time.Second})
	}
	m.session(0, flowSignIn, 1)
	for at := 2.0; at < 60; at += 12 {
		m.ask(0, flowApp, at)
		m.ask(1, flowSilent, at)
		m.ask(2, flowOBO, at)
		for w := range 3 {
			for _, flow := range []string{flowApp, flowSilent, flowOBO} {
				m.call(w, flow, at+1, at)
				m.call(w, flow, at+11, at)
			}
		}
	}
	m.call(3, flowVerify, 65, 65)
	return m
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// what is asked for in a flow.
func what(flow string) call {
	switch flow {
	case flowApp, flowChallenge, flowForget:
		return call{Flow: flow, Tenant: tenantA, Scope: scopeApp}
	case flowOBO, flowDismiss:
		return call{Flow: flow, Tenant: tenantA, User: "oid-b.tenant-a", Scope: scopeOBO}
	case flowVerify:
		return call{Flow: flow, Tenant: tenantA, User: userA, Scope: scopeVerify}
	default:
		return call{Flow: flow, Tenant: tenantA, User: userA, Scope: scopeRead}
	}
}

// call adds a call of 100 ms that got the token of a moment.
func (m *made) call(worker int, flow string, at, issued float64) *call {
	c := what(flow)
	c.Worker, c.Start, c.End = worker, seconds(at), seconds(at+.1)
	c.Token = token{Hash: fmt.Sprint(c.identity(), issued), Tenant: c.Tenant, Client: clientID, Audience: graph,
		Issued: seconds(issued), Expires: seconds(issued + 324)}
	if c.User != "" {
		c.Token.Session = "1"
		c.Token.Subject, c.Token.Scopes = c.User[:len("oid-a")], c.Scope[len(graph)+1:]
	}
	m.Calls = append(m.Calls, c)
	return &m.Calls[len(m.Calls)-1]
}

// fails adds a call that failed.
func (m *made) fails(worker int, flow string, at float64, how string) *call {
	c := m.call(worker, flow, at, at)
	c.Token, c.Fail, c.Error = token{}, how, how
	return c
}

// session adds a sign-in or a sign-out.
func (m *made) session(worker int, flow string, at float64) *call {
	c := m.call(worker, flow, at, at)
	if c.removes() {
		c.Token = token{}
	}
	return c
}

// ask adds a token request of 100 ms that brought a token.
func (m *made) ask(worker int, flow string, at float64) *request {
	grant := map[string]string{flowApp: "client_credentials", flowSilent: "refresh_token", flowOBO: "obo"}[flow]
	m.Requests = append(m.Requests, request{ID: len(m.Requests) + 1, Worker: worker, Grant: grant,
		For: what(flow).identity(), Session: map[bool]string{true: "1"}[flow == flowSilent], Arrived: seconds(at),
		Answered: seconds(at + .1), Status: 200})
	return &m.Requests[len(m.Requests)-1]
}

// failing lets Entra ID fail an app whose token nobody has, and the request be repeated.
func (m *made) failing(at ...float64) {
	for _, at := range at {
		m.fault("Entra ID 503", at-.1, at+.3)
		for _, at := range []float64{at, at + .2} {
			r := m.ask(2, flowApp, at)
			r.For.Tenant, r.Status, r.Error, r.Answered = tenantB, 503, "fault: 503", r.Arrived
		}
	}
}

func (m *made) fault(kind string, from, to float64) *injected {
	if kindNamed(kind) == nil {
		panic(kind)
	}
	m.Faults = append(m.Faults, injected{Kind: kind, Worker: -1, Start: seconds(from), End: seconds(to)})
	return &m.Faults[len(m.Faults)-1]
}

func (m *made) kill(worker int, at float64) {
	m.fault(kindKill, at, at+.1).Worker = worker
	m.Lives[worker] = life{Worker: worker, Killed: true, End: seconds(at)}
	m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool { return c.Worker == worker && c.End > seconds(at) })
}

// sick makes a worker's way to Entra ID fail.
func (m *made) sick(kind string, worker int, from, to float64) {
	m.fault(kind, from, to).Worker = worker
}

// unanswered lets Entra ID close the connections of requests for an app's token that nobody has.
func (m *made) unanswered(requests int) {
	m.fault("Entra ID drops", 65, 66)
	for n := range requests {
		r := m.ask(0, flowApp, 65+float64(n)/100)
		r.For.Tenant, r.Status, r.Error, r.Answered = tenantB, 0, "fault: drop", r.Arrived
	}
}

// guest adds a call on behalf of a user in a tenant where the user is a guest.
func (m *made) guest(worker int, at, issued float64) *call {
	c := m.call(worker, flowOBO, at, issued)
	c.Via, c.Tenant = tenantA, tenantB
	c.Token.Tenant, c.Token.Subject = tenantB, subjectIn(tenantB, c.User)
	return c
}

// none knows the user but these workers.
func (m *made) knownTo(workers ...int) {
	m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool {
		return c.Flow == flowSilent && !slices.Contains(workers, c.Worker)
	})
}

// knownOnlyTo: the user signed in there too.
func (m *made) knownOnlyTo(worker int) {
	m.knownTo(worker)
	m.Calls[0].Worker = worker
}

// lost makes the last process find nothing.
func (m *made) lost() {
	c := &m.Calls[slices.IndexFunc(m.Calls, func(c call) bool { return c.Flow == flowVerify })]
	c.Token, c.Fail = token{}, failNoAccount
}

func (m *made) damaged(kind string, at float64) { m.fault(kind, at, at+.1).Users = []string{userA} }

// Each rule finds what breaks it, and nothing else does: the log that is spoiled keeps every rule.
func TestEveryRuleFindsItsViolation(t *testing.T) {
	for _, x := range []struct {
		rule, how string
		spoil     func(*made)
	}{
		{"", "all is well", func(*made) {}},

		{ruleWrong, "another user's token", func(m *made) { m.call(0, flowSilent, 16, 14).Token.Subject = "oid-c" }},
		{ruleWrong, "another tenant's token", func(m *made) { m.call(0, flowApp, 16, 14).Token.Tenant = tenantB }},
		{ruleWrong, "another scope's token", func(m *made) { m.call(0, flowSilent, 16, 14).Token.Scopes = "Mail.Read" }},
		{ruleWrong, "another API's token",
			func(m *made) { m.call(0, flowApp, 16, 14).Token.Audience = "https://api.contoso.com" }},
		{ruleWrong, "an app's token for a user", func(m *made) { m.call(0, flowSilent, 16, 14).Token.Subject = "" }},
		{ruleWrong, "a user's token for an app", func(m *made) { m.call(0, flowApp, 16, 14).Token.Subject = "oid-a" }},
		{ruleWrong, "a user's token on behalf of another",
			func(m *made) { m.call(0, flowOBO, 16, 14).Token.Subject = "oid-a" }},
		{ruleWrong, "a wrong token at the sign-in", func(m *made) { m.Calls[0].Token.Subject = "oid-c" }},
		{ruleWrong, "another app's token", func(m *made) { m.call(0, flowApp, 16, 14).Token.Client = otherClient }},
		{ruleWrong, "the first app's token for another", func(m *made) { m.call(0, flowApp, 16, 14).Client = otherClient }},
		{ruleWrong, "a token for a client with CP1 for one without",
			func(m *made) { m.call(0, flowApp, 16, 14).Token.CAE = true }},
		{ruleWrong, "a token for a client without CP1 for one with it",
			func(m *made) { m.call(0, flowSilent, 16, 14).CAE = true }},
		{"", "a token for a client with CP1 for one with it", func(m *made) {
			c := m.call(0, flowSilent, 16, 14)
			c.CAE, c.Token.CAE = true, true
		}},
		{ruleWrong, "a guest's token of the home tenant", func(m *made) { m.guest(0, 16, 14).Token.Tenant = tenantA }},
		{ruleWrong, "a guest's token with the object id of the home tenant",
			func(m *made) { m.guest(0, 16, 14).Token.Subject = "oid-b" }},
		{"", "a guest's token", func(m *made) { m.guest(0, 16, 14) }},
		{ruleWrong, "a token of the tenant of the client that asks for another's", func(m *made) {
			c := m.call(0, flowApp, 16, 14)
			c.Via, c.Tenant = tenantA, tenantB
		}},
		{ruleWrong, "something that is no token", func(m *made) { m.call(0, flowApp, 16, 14).Token = token{} }},

		{ruleWrong, "an old token for a claims challenge", func(m *made) { m.call(0, flowChallenge, 20, 14) }},
		{"", "a new token for a claims challenge", func(m *made) {
			m.call(0, flowChallenge, 20, 20)
			m.ask(0, flowApp, 20).Claims = true
		}},

		{ruleExpired, "a token that is dead", func(m *made) { m.call(0, flowApp, 16, 14).Token.Expires = seconds(14) }},
		{ruleExpired, "an old token without a reason", func(m *made) { m.call(0, flowApp, 54, 22) }},
		{"", "an old token while Entra ID fails",
			func(m *made) { m.call(0, flowApp, 54, 22); m.fault("Entra ID 503", 53, 54) }},
		{ruleExpired, "an old token long after Entra ID failed",
			func(m *made) { m.call(0, flowApp, 54, 22); m.fault("Entra ID 503", 30, 31) }},
		{ruleExpired, "an old token, and keys evicted, which delays nobody",
			func(m *made) { m.call(0, flowApp, 54, 22); m.fault("keys evicted", 53, 54) }},

		{ruleRevoked, "where it was signed out", func(m *made) { signedOut(m); m.call(1, flowSilent, 61, 52) }},
		{ruleRevoked, "elsewhere after the bound", func(m *made) { signedOut(m); m.call(0, flowSilent, 63, 52) }},
		{"", "elsewhere within the bound", func(m *made) { signedOut(m); m.call(0, flowSilent, 62, 52) }},
		{"", "elsewhere while Redis is away", func(m *made) {
			signedOut(m)
			m.call(0, flowSilent, 63, 52)
			m.fault("connections cut", 60.5, 62)
		}},
		{ruleRevoked, "a sign-out before everything was lost long after", func(m *made) {
			signedOut(m)
			m.call(0, flowSilent, 64.5, 52)
			m.fault("FLUSHALL", 64, 64)
		}},
		{"", "everything lost after the sign-out, of which a message was lost", func(m *made) {
			m.fault("connections reset", 58, 58)
			signedOut(m)
			m.call(0, flowSilent, 64.5, 52)
			m.fault("FLUSHALL", 64, 64)
		}},
		{"", "everything lost right after the sign-out",
			func(m *made) { signedOut(m); m.call(0, flowSilent, 64, 52); m.fault("FLUSHALL", 61, 61) }},

		{ruleRevoked, "a token on behalf of a user who had signed out",
			func(m *made) { m.session(1, flowDismiss, 53.5); m.call(0, flowOBO, 57, 50) }},
		{ruleRevoked, "a token on behalf of a user who had signed out there",
			func(m *made) { m.session(1, flowDismiss, 53.5); m.call(1, flowOBO, 53.8, 50) }},
		{"", "a token on behalf of a user who had signed out, and the connection that was to tell of it cut", func(m *made) {
			m.session(1, flowDismiss, 53.5)
			m.fault("connections reset", 53, 53.4)
			m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool { return c.Flow == flowOBO && c.Start > seconds(53) })
			m.call(0, flowOBO, 57, 50)
		}},
		{ruleRevoked, "an app's token that was forgotten",
			func(m *made) { m.session(1, flowForget, 53.5); m.call(0, flowApp, 57, 50) }},
		{"", "an app's token that was forgotten, and its answer's place in the list evicted before", func(m *made) {
			m.fault("keys evicted", 52, 52)
			m.session(1, flowForget, 53.5)
			m.call(0, flowApp, 57, 50)
		}},
		{"", "an app's token that was forgotten, within the bound", func(m *made) {
			m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool { return c.Flow == flowApp && c.End > seconds(54) })
			m.session(1, flowForget, 53.5)
			m.call(0, flowApp, 55, 50)
			m.ask(1, flowApp, 54)
		}},

		{ruleLost, "nothing happened", func(m *made) { m.lost() }},
		{ruleLost, "everything lost, and known to those who live", func(m *made) { m.lost(); m.fault("FLUSHALL", 30, 30) }},
		{"", "everything lost, and known to nobody who lives", func(m *made) {
			m.lost()
			m.knownOnlyTo(1)
			m.fault("FLUSHALL", 30, 30)
			m.kill(1, 30.5)
		}},
		{ruleLost, "everything lost, and whoever knew it was asked again before it was killed", func(m *made) {
			m.lost()
			m.knownOnlyTo(1)
			m.fault("FLUSHALL", 30, 30)
			m.kill(1, 45)
		}},
		{"", "everything lost, and whoever knew it was asked again while Redis took no writes, and killed", func(m *made) {
			m.lost()
			m.knownOnlyTo(1)
			m.fault("FLUSHALL", 30, 30)
			m.fault("Redis full", 31, 46)
			m.kill(1, 45)
		}},
		{ruleLost, "a value of another user damaged",
			func(m *made) { m.lost(); m.fault("values corrupted", 30, 30).Users = []string{"oid-b.tenant-a"} }},
		{ruleLost, "its value damaged, and known to those who live",
			func(m *made) { m.lost(); m.damaged("values corrupted", 30) }},
		{ruleLost, "rolled back, where old refresh tokens stay valid",
			func(m *made) { m.lost(); m.damaged("values rolled back", 30) }},
		{"", "rolled back, where they do not",
			func(m *made) { m.Terms.Rotate = true; m.lost(); m.damaged("values rolled back", 30) }},
		{ruleLost, "a failover, rotation", func(m *made) { m.Terms.Rotate = true; m.lost(); m.fault("failover", 30, 31) }},
		{ruleLost, "an eviction, rotation",
			func(m *made) { m.Terms.Rotate = true; m.lost(); m.fault("keys evicted", 30, 31) }},
		{"", "everything lost, rotation", func(m *made) { m.Terms.Rotate = true; m.lost(); m.fault("FLUSHALL", 30, 30) }},
		{ruleLost, "killed long after storing, rotation", func(m *made) { m.Terms.Rotate = true; m.lost(); m.kill(1, 45) }},
		{"", "killed before storing, rotation", func(m *made) { m.Terms.Rotate = true; m.lost(); m.kill(1, 38.2) }},
		{ruleLost, "killed before storing, old refresh tokens stay valid", func(m *made) { m.lost(); m.kill(1, 38.2) }},
		{"", "the sign-in's process killed before storing", func(m *made) { m.lost(); m.knownTo(); m.kill(0, 1.2) }},
		{"", "Entra ID's answer lost, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.lost()
			m.fault(kindLostAnswer, 36, 37)
			r := m.ask(1, flowSilent, 36.5)
			r.Status, r.Error = 0, "fault: drop"
		}},
		{ruleLost, "Entra ID's answer to another user lost, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.lost()
			m.fault(kindLostAnswer, 36, 37)
		}},

		{ruleRequests, "a request for a token that is there", func(m *made) { m.ask(2, flowApp, 45) }},
		{"", "an eviction before it", func(m *made) { m.ask(2, flowApp, 45); m.fault("keys evicted", 44, 44) }},
		{ruleRequests, "lost scripts before it", func(m *made) { m.ask(2, flowApp, 45); m.fault("scripts lost", 44, 44) }},
		{"", "after a sign-in, one by a process that was stopped since before it", func(m *made) {
			m.fault(kindFreeze, 37.05, 40).Worker = 0
			session(m, 2, 37.3)
			m.ask(0, flowSilent, 40.1).For.Scope = scopeMail
			r := m.ask(2, flowSilent, 41)
			r.For.Scope, r.Session = scopeMail, "2"
		}},
		{ruleRequests, "two of a burst for one token", func(m *made) {
			m.fault("burst", 65, 66)
			for at := range 2 {
				m.ask(at, flowApp, 65.1+float64(at)/20).For.Scope = "https://burst-1.contoso.com/.default"
			}
		}},
		{"", "one each for a client with CP1 and one without", func(m *made) { m.ask(2, flowApp, 45).For.CAE = true }},
		{"", "one each for two apps", func(m *made) { m.ask(2, flowApp, 45).For.Client = otherClient }},
		{ruleRequests, "two for clients with CP1",
			func(m *made) { m.ask(2, flowApp, 45).For.CAE = true; m.ask(1, flowApp, 45.3).For.CAE = true }},
		{ruleRequests, "long after connections died",
			func(m *made) { m.fault("connections dead", 20, 20); m.ask(2, flowApp, 32) }},
		{"", "one more where a worker's egress hung, which asks again when it does not", func(m *made) {
			m.sick("egress hangs", 2, 50.5, 58.5)
			m.ask(2, flowApp, 58.7)
		}},
		{ruleRequests, "three after one eviction", func(m *made) {
			m.fault("keys evicted", 43, 43)
			m.ask(2, flowApp, 43)
			m.ask(2, flowApp, 43.2)
			m.ask(2, flowApp, 43.4)
		}},
		{ruleRequests, "after one eviction, two beside one that is due, and two more", func(m *made) {
			m.fault("keys evicted", 49.9, 49.9)
			for _, at := range []float64{50.05, 50.06, 50.4, 50.6} {
				m.ask(2, flowSilent, at)
			}
		}},
		{"", "two at once after one eviction, each charged once", func(m *made) {
			m.fault("keys evicted", 39, 39)
			m.ask(2, flowApp, 39.2)
			m.ask(1, flowApp, 39.25)
		}},
		{ruleRequests, "two at once after an eviction that excuses that they ask, and not that both do", func(m *made) {
			m.fault("keys evicted", 38.2, 38.2)
			m.ask(2, flowApp, 39.5)
			m.ask(1, flowApp, 39.55)
		}},
		{ruleRequests, "two at once for a token that is due", func(m *made) { m.ask(2, flowApp, 50.05) }},
		{ruleRequests, "two scopes of one user at once", func(m *made) { m.ask(2, flowSilent, 50.05).For.Scope = scopeMail }},
		{"", "two users at once", func(m *made) { m.ask(2, flowSilent, 50.05).For.User = "oid-d.tenant-a" }},
		{ruleRequests, "one that was never answered, and another", func(m *made) {
			m.ask(2, flowApp, 65).Answered = 0
			m.ask(1, flowApp, 66)
		}},
		{ruleRequests, "on and on while Entra ID refuses", func(m *made) {
			m.fault("Entra ID 429", 65, 66)
			for at := 65.1; at < 65.4; at += .1 {
				r := m.ask(2, flowApp, at)
				r.Status, r.Error, r.Answered = 429, "fault: 429", r.Arrived
			}
		}},
		{"", "each process for itself, while Entra ID does not answer", func(m *made) { m.unanswered(3 * each(m.Terms)) }},
		{ruleRequests, "on and on while Entra ID does not answer", func(m *made) { m.unanswered(3*each(m.Terms) + 1) }},
		{"", "each process for itself, while Entra ID refuses and Redis is away", func(m *made) {
			m.fault("connections cut", 64.5, 67)
			m.fault("Entra ID 429", 65, 66)
			for w := range 3 {
				r := m.ask(w, flowApp, 65.1+float64(w)/10)
				r.Status, r.Error, r.Answered = 429, "fault: 429", r.Arrived
			}
		}},

		{ruleFailed, "without a reason", func(m *made) { m.fails(0, flowApp, 14, failEntra) }},
		{ruleFailed, "Entra ID fails, and a token lives",
			func(m *made) { m.fails(0, flowApp, 14, failEntra); m.fault("Entra ID 503", 13.5, 14.5) }},
		{"", "Entra ID fails, and the token that lives was to be forgotten", func(m *made) {
			m.session(1, flowForget, 13.2)
			m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool {
				return c.Flow == flowApp && c.Start > seconds(13.1) && c.Start < seconds(14.2)
			})
			m.fails(0, flowApp, 13.8, failEntra)
			m.fault("Entra ID 503", 13.5, 14)
		}},
		{"", "Entra ID fails, and the token that lives waits elsewhere for a Redis that was full", func(m *made) {
			m.fault("Redis full", 13.5, 14.5)
			m.ask(0, flowApp, 14.2).For.Tenant = tenantB
			m.fails(1, flowApp, 16, failEntra).Tenant = tenantB
			m.fault("Entra ID 429", 15.5, 16.5)
		}},
		{ruleFailed, "Entra ID fails, Redis was full, and the token that lives waits here", func(m *made) {
			m.fault("Redis full", 13.5, 14.5)
			m.ask(0, flowApp, 14.2).For.Tenant = tenantB
			m.fails(0, flowApp, 16, failEntra).Tenant = tenantB
			m.fault("Entra ID 429", 15.5, 16.5)
		}},
		{ruleFailed, "Entra ID fails, and Redis, which was full, took the token that lives long before", func(m *made) {
			m.fault("Redis full", 13.5, 14.5)
			m.ask(0, flowApp, 14.2).For.Tenant = tenantB
			m.fails(1, flowApp, 19, failEntra).Tenant = tenantB
			m.fault("Entra ID 429", 18.5, 19.5)
		}},
		{"", "Entra ID fails, and nobody has a token", func(m *made) {
			m.fails(0, flowApp, 14, failEntra).Tenant = tenantB
			m.fault("Entra ID 503", 13.5, 14.5)
		}},
		{"", "Entra ID failed four times in a row, and nobody asks for another eight seconds",
			func(m *made) { m.failing(2, 5, 9, 16); m.fails(0, flowApp, 24.3, failEntra).Tenant = tenantB }},
		{ruleFailed, "Entra ID failed once, and nobody asks for another eight seconds",
			func(m *made) { m.failing(16); m.fails(0, flowApp, 24.3, failEntra).Tenant = tenantB }},
		{"", "its own egress is refused, and nobody has a token", func(m *made) {
			m.fails(0, flowApp, 14, failEntra).Tenant = tenantB
			m.sick("egress refused", 0, 13.5, 14.5)
		}},
		{"", "its own egress was refused shortly before, and it pauses", func(m *made) {
			m.fails(0, flowApp, 17, failEntra)
			m.sick("egress refused", 0, 13.5, 14.5)
		}},
		{ruleFailed, "its own egress was refused long before", func(m *made) {
			m.fails(0, flowApp, 34, failEntra)
			m.sick("egress refused", 0, 13.5, 14.5)
		}},
		{ruleFailed, "another's egress is refused", func(m *made) {
			m.fails(1, flowApp, 14, failEntra).Tenant = tenantB
			m.sick("egress refused", 0, 13.5, 14.5)
		}},
		{ruleFailed, "another's egress hangs until the caller's time is up", func(m *made) {
			m.fails(1, flowApp, 14, failDeadline).Tenant = tenantB
			m.sick("egress hangs", 0, 13.5, 22)
		}},
		{ruleFailed, "a proxy answered another an hour's pause", func(m *made) {
			m.fails(1, flowApp, 20, failEntra).Tenant = tenantB
			m.sick("proxy in between", 0, 13.5, 15)
		}},
		{ruleFailed, "its own egress is refused, and its sign-out fails for want of Redis", func(m *made) {
			m.fails(0, flowSignOut, 66, failRedis)
			m.sick("egress refused", 0, 65.5, 67)
		}},
		{"", "a sign-in whose own transport panics",
			func(m *made) { m.fails(0, flowSignIn, 66, failEntra); m.sick("transport breaks", 0, 65.5, 67) }},
		{ruleFailed, "a panic that is not the transport's",
			func(m *made) { m.fails(0, flowApp, 14, failPanic); m.sick("transport breaks", 0, 13.5, 15) }},
		{ruleFailed, "a sign-out while connections have been dead for long",
			func(m *made) { m.fails(0, flowSignOut, 66, failRedis); m.fault("connections dead", 60, 60) }},
		{"", "a sign-out while connections have just died",
			func(m *made) { m.fails(0, flowSignOut, 66, failRedis); m.fault("connections dead", 65, 65) }},
		{ruleFailed, "one of a burst",
			func(m *made) { m.fails(0, flowApp, 14, failEntra).Tenant = tenantB; m.fault("burst", 13.9, 15) }},
		{ruleFailed, "Redis is away, which no call for a token may fail for",
			func(m *made) { m.fails(0, flowApp, 14, failRedis); m.fault("connections cut", 13.5, 14.5) }},
		{"", "a sign-out while Redis is away",
			func(m *made) { m.fails(0, flowSignOut, 66, failRedis); m.fault("connections cut", 65, 67) }},
		{ruleFailed, "a sign-out without a reason", func(m *made) { m.fails(0, flowSignOut, 66, failRedis) }},
		{ruleFailed, "a sign-in while Redis is away",
			func(m *made) { m.fails(0, flowSignIn, 66, failRedis); m.fault("connections cut", 65, 67) }},
		{ruleFailed, "nobody knows the user", func(m *made) { m.fails(0, flowSilent, 55, failNoAccount) }},
		{"", "the user has signed out", func(m *made) { signedOut(m); m.fails(0, flowSilent, 64, failNoAccount) }},
		{ruleFailed, "the user has signed out, and the call fails for another reason",
			func(m *made) { signedOut(m); m.fails(0, flowSilent, 64, failOther) }},
		{ruleFailed, "everything was lost, and this instance knew",
			func(m *made) { m.fails(0, flowSilent, 34, failNoAccount); m.fault("FLUSHALL", 33.5, 33.5) }},
		{"", "everything was lost, and this instance did not know", func(m *made) {
			m.knownTo(1)
			m.fails(2, flowSilent, 34, failNoAccount)
			m.fault("FLUSHALL", 33.5, 33.5)
		}},
		{ruleFailed, "everything was lost, and written back since", func(m *made) {
			m.knownTo(1)
			m.fails(2, flowSilent, 57, failNoAccount)
			m.fault("FLUSHALL", 33.5, 33.5)
		}},
		{"", "a sign-in just after a failover, before the old primary heard of it", func(m *made) {
			m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool {
				return c.Flow == flowSilent && c.End > seconds(36) && c.End < seconds(48)
			})
			session(m, 1, 37.3)
			m.fails(2, flowSilent, 42, failNoAccount)
			m.fault("cluster failover", 37, 37.2)
		}},
		{"", "a sign-in whose record was evicted before its call came back", func(m *made) {
			m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool {
				return c.Flow == flowSilent && c.End > seconds(36) && c.End < seconds(48)
			})
			session(m, 1, 37.3)
			m.fails(2, flowSilent, 42, failNoAccount)
			m.fault("keys evicted", 37.35, 37.36)
		}},
		{ruleFailed, "a value was damaged, and written anew since", func(m *made) {
			m.knownTo(1)
			m.fails(2, flowSilent, 57, failNoAccount)
			m.damaged("values corrupted", 33.5)
		}},
		{"", "a value was damaged, and nobody who knows it has written since", func(m *made) {
			m.knownTo(1)
			m.fails(2, flowSilent, 34.5, failNoAccount)
			m.damaged("values corrupted", 33.5)
		}},
		{"", "a value was damaged before this instance read the record, and all was lost since", func(m *made) {
			m.knownTo(1)
			m.call(2, flowSilent, 30, 26)
			m.fails(2, flowSilent, 36, failNoAccount)
			m.damaged("values swapped", 28)
			m.fault("FLUSHALL", 32, 32)
		}},
		{ruleFailed, "a value was damaged after this instance read the record, and all was lost since", func(m *made) {
			m.knownTo(1)
			m.call(2, flowSilent, 27.5, 26)
			m.fails(2, flowSilent, 36, failNoAccount)
			m.damaged("values swapped", 28)
			m.fault("FLUSHALL", 32, 32)
		}},
		{"", "everything was lost, and this instance knew of an earlier session only", func(m *made) {
			session(m, 1, 37.3)
			m.call(2, flowSilent, 37.5, 26)
			m.fails(2, flowSilent, 37.8, failNoAccount)
			m.fault("Redis restarted empty", 37.45, 37.7)
		}},
		{"", "a sign-in that waits for Redis behind its sign-out", func(m *made) {
			session(m, 1, 37.3)
			m.fails(2, flowSilent, 37.8, failGrant)
			m.fault("connections cut", 36.5, 37.35)
		}},
		{ruleFailed, "the refresh token of an earlier session, and Redis was there", func(m *made) {
			session(m, 1, 37.3)
			m.fails(2, flowSilent, 37.8, failGrant)
		}},
		{ruleFailed, "the refresh token is refused",
			func(m *made) { m.fails(0, flowSilent, 14, failGrant); m.fault("connections cut", 13, 15) }},
		{"", "the refresh token is refused while Redis is away, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.fails(0, flowSilent, 14, failGrant)
			m.fault("connections cut", 13, 15)
		}},
		{"", "the refresh token is refused while Redis is full, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.fails(2, flowSilent, 28.5, failGrant)
			m.fault("Redis full", 25, 27)
		}},
		{"", "the refresh token is refused after its record was damaged, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.fails(2, flowSilent, 34, failGrant)
			m.damaged("values corrupted", 33)
		}},
		{"", "the refresh token is refused after an eviction, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.fails(2, flowSilent, 28, failGrant)
			m.fault("keys evicted", 27.8, 27.9)
		}},
		{ruleFailed, "the refresh token is refused long after an eviction, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.call(1, flowSilent, 33, 26)
			m.fails(2, flowSilent, 36, failGrant)
			m.fault("keys evicted", 27.8, 27.9)
		}},
		{ruleFailed, "the refresh token is refused, rotation", func(m *made) {
			m.Terms.Rotate = true
			m.fails(0, flowSilent, 34, failGrant)
			m.fault("connections cut", 13, 15)
		}},

		{ruleSlow, "without a reason", func(m *made) { m.call(0, flowApp, 54, 52).End += seconds(6) }},
		{ruleSlow, "an eviction delays nobody",
			func(m *made) { m.call(0, flowApp, 54, 52).End += seconds(6); m.fault("keys evicted", 54, 54) }},
		{"", "Redis does not answer",
			func(m *made) { m.call(0, flowApp, 54, 52).End += seconds(6); m.fault("connections silent", 54, 56) }},
		{ruleSlow, "Redis does not answer, and the call takes longer even so", func(m *made) {
			m.call(0, flowApp, 54, 52).End += seconds(14)
			m.fault("connections silent", 54, 56)
		}},
		{"", "the process was stopped meanwhile", func(m *made) {
			m.call(0, flowApp, 54, 52).End += seconds(6)
			m.fault(kindFreeze, 54.05, 57).Worker = 0
		}},
		{ruleSlow, "another's egress hangs",
			func(m *made) { m.call(1, flowApp, 54, 52).End += seconds(7.5); m.sick("egress hangs", 0, 54, 62.5) }},
		{"", "its own egress hangs",
			func(m *made) { m.call(0, flowApp, 54, 52).End += seconds(8); m.sick("egress hangs", 0, 54, 62.5) }},
		{"", "in a burst", func(m *made) { m.call(0, flowApp, 54, 52).End += seconds(6); m.fault("burst", 54, 60) }},
		{ruleSlow, "past every bound", func(m *made) {
			m.call(0, flowApp, 34, 32).End += seconds(22)
			for range 9 {
				m.fault("connections silent", 34, 36)
			}
		}},

		{ruleSecret, "in a log", func(m *made) { m.Spilled = []string{"token=(secret)"} }},

		{ruleLeaked, "goroutines", func(m *made) { m.Lives[1].Leaked = "found unexpected goroutines" }},
		{ruleLeaked, "it died", func(m *made) { m.Lives[1].Closed = false }},
		{ruleLeaked, "it died before it could store a sign-in, which nobody else knows", func(m *made) {
			m.lost()
			m.knownTo()
			m.kill(0, 1.2)
			m.Faults, m.Lives[0].Killed = nil, false
		}},
		{ruleLeaked, "it hung", func(m *made) { m.Lives[1].Hung = "rollcall" }},
		{ruleLeaked, "it had closed, and did not end", func(m *made) { m.Lives[1].Hung = "end" }},
		{ruleLeaked, "it hung before a fault would have killed it",
			func(m *made) { m.kill(1, 69); m.Lives[1].Hung = "start" }},
		{ruleLeaked, "it did nothing", func(m *made) { m.Lives = append(m.Lives, life{Worker: 9, Closed: true}) }},
	} {
		t.Run(x.rule+"/"+x.how, func(t *testing.T) {
			m := wellMade()
			x.spoil(m)
			found := map[string]bool{}
			for _, v := range check(m.history).Violations {
				found[v.Rule] = true
				if v.Rule != x.rule {
					t.Errorf("%v: %s: %s", v.At, v.Rule, v.Text)
				}
			}
			if x.rule != "" && !found[x.rule] {
				t.Errorf("the checker does not see it")
			}
		})
	}
}

// A secret is found where it stands, whole or cut off, and is not told.
func TestSpilledSecretsAreFound(t *testing.T) {
	const secret = "0.AbcdefghijklmnopqrstuvwxyzX"
	got := spilled(map[string]bool{
		"level=INFO token=" + secret + " more": true,
		"cut off: " + secret[:20]:              true,
		"level=INFO msg=\"Redis is back\"":     true,
		"0.Abcdefghijklm and no more":          true,
	}, []string{"short", secret})
	slices.Sort(got)
	if want := []string{"cut off: (secret)", "level=INFO token=(secret)"}; !slices.Equal(got, want) {
		t.Errorf("found %q", got)
	}
}

// An error is searched whole, and kept cut.
func TestSecretAtTheEndOfAnErrorIsFound(t *testing.T) {
	const secret = "0.AbcdefghijklmnopqrstuvwxyzX"
	var f fleet
	f.returned(call{Fail: failOther, Error: strings.Repeat("x", 1000) + secret})
	if len(spilled(f.said, []string{secret})) != 1 {
		t.Error("it is not found")
	}
	if len(f.calls) != 1 || len(f.calls[0].Error) > 300 {
		t.Errorf("%d calls are kept, and the whole error", len(f.calls))
	}
}

// signedOut signs the user out at the end, on worker 1.
func signedOut(m *made) {
	m.Calls = slices.DeleteFunc(m.Calls, func(c call) bool {
		return c.Flow == flowVerify || c.Flow == flowSilent && c.End > seconds(59)
	})
	m.Lives[3].Killed = true
	m.session(1, flowSignOut, 59.5)
}

// session lets a worker sign the user out and in again.
func session(m *made, worker int, at float64) {
	for i := range m.Calls {
		if c := &m.Calls[i]; c.User == userA && c.Token.Issued >= seconds(at) {
			c.Token.Session = "2"
		}
	}
	for i := range m.Requests {
		if r := &m.Requests[i]; r.For.User == userA && r.Arrived >= seconds(at) {
			r.Session = "2"
		}
	}
	m.session(worker, flowSignOut, at-.2)
	m.session(worker, flowSignIn, at).Token.Session = "2"
}

// What policy allows is counted where it belongs.
func TestReportCounts(t *testing.T) {
	m := wellMade()
	m.fault("keys evicted", 54, 54)
	m.ask(2, flowApp, 55)
	m.fault("connections cut", 65, 67)
	m.fails(0, flowSignOut, 66, failRedis).End += seconds(2)
	v := check(m.history)
	rows := map[string]row{}
	for _, r := range v.Rows {
		rows[r.Kind] = r
	}
	if r := rows["keys evicted"]; r.Injected != 1 || r.Extra != 1 || r.Bound != 2 || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	if r := rows["connections cut"]; r.Injected != 1 || r.Calls != 1 || r.Failed != 1 ||
		r.Longest.Round(time.Millisecond) != seconds(2.1) {
		t.Errorf("%+v", r)
	}
	if r := rows[noFault]; r.Injected != 0 || r.Extra != 0 || r.Calls == 0 {
		t.Errorf("%+v", r)
	}
}

// A busy machine excuses nothing that an injected fault explains, nor that the library finds Redis away while every
// process gets its processor; what it excuses is a row of its own.
func TestBusyMachineIsARowOfItsOwn(t *testing.T) {
	late := func(a, b float64) injected { return injected{Kind: kindBusy, Start: seconds(a), End: seconds(b)} }
	away := func(a, b float64) injected {
		return injected{Kind: kindBusy, Start: seconds(a), End: seconds(b), Note: noteAway}
	}
	for name, x := range map[string]struct {
		busy []injected
		want int
	}{
		"together":                      {[]injected{late(34, 34.5), late(34.6, 35)}, 1},
		"apart":                         {[]injected{late(24, 24.5), late(34.6, 35)}, 2},
		"explained":                     {[]injected{late(44.5, 46)}, 0},
		"away and late":                 {[]injected{late(31, 31.5), away(34, 35)}, 2},
		"away and nobody late":          {[]injected{away(34, 35)}, 0},
		"away by the fault":             {[]injected{late(44, 44.5), away(44.5, 47)}, 0},
		"away by the fault, and longer": {[]injected{late(48, 48.5), away(44.5, 50)}, 1},
		"away by the fault, longer without cause": {[]injected{away(44.5, 50)}, 0},
	} {
		m := wellMade()
		m.fault("connections cut", 44, 45)
		m.Busy = x.busy
		n := 0
		for _, r := range check(m.history).Rows {
			if r.Kind == kindBusy {
				n = r.Injected
			}
		}
		if n != x.want {
			t.Errorf("%s: %d times busy, want %d", name, n, x.want)
		}
	}
}
