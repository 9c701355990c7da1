package gate

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// An answer that was taken in while its app's tokens were forgotten does not serve, also where Redis is away.
func TestAnswerOfBeforeARemovalDoesNotServeWhileRedisIsAway(t *testing.T) {
	g := newGate(t)
	var requests atomic.Int64
	base := stage.Says(200, stage.GoodToken)
	gated := g.Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
		requests.Add(1)
		return base(req)
	}))
	for n, want := range []int64{1, 1, 2} {
		if n == 2 {
			// the answers were gone through before
			g.o.Store.BeginRemoval(g.o.Store.Of(layout.PartitionID(msaldoc.AppKey("c", "t", "")), false), nil)
		}
		if status, _, err := stage.Ask(t.Context(), gated, stage.AppForm("one")); err != nil || status != 200 {
			t.Fatal(status, err)
		}
		if got := requests.Load(); got != want {
			t.Errorf("call %d: %d requests, want %d", n+1, got, want)
		}
	}
}

// The answer to a refresh that began after a sign-out, with a refresh token of before it, has ended with that token:
// one of a special request is in no record, and would serve the fleet.
func TestAnswerToARefreshEndsWithTheTokenThatWasSent(t *testing.T) {
	g := newGate(t)
	p := g.o.Store.Of(layout.PartitionID("uid.utid"), true)
	r := &tokenRequest{Request: answers.Request{
		Request: tokenreq.Request{
			Kind: tokenreq.UserRefresh, ID: "special", Special: true, Lineage: tokenreq.Lineage{Account: "uid.utid"},
		},
		Partitions: []id{p.ID}, Tenants: []string{"t"},
	}}
	o := &recordSource{g: g, r: r, p: p}
	o.session = g.o.Store.Asked(g.o.Clock.Now())
	removed := g.o.Store.BeginRemoval(p, nil).Removed()
	started := removed.Whole.Add(time.Second)
	a := &answers.Answer{Answer: &tokenresp.Answer{
		Status: 200, Body: []byte(stage.GoodToken), Started: started, Received: started, Stamp: started,
	}}
	a.Judge()
	o.keep(t.Context(), a)
	if !g.answers.Ended(&r.Request, a) {
		t.Error("it is kept")
	}
	if found, _, _ := g.answers.Look(t.Context(), &r.Request); found.Answer != nil {
		t.Error("it is found")
	}
}

// A token of a record ends with its sign-in's removal, as its entry does: one of after a sign-out that is as of a time
// ahead of our clock has not ended. Of two that answer a request the one that was asked for last is given, for it lives
// longest, whichever sign-in it is of.
func TestTokenOfARecordEndsWithItsSignIn(t *testing.T) {
	g := newGate(t)
	now := g.o.Clock.Now()
	out := now.Add(3 * time.Second)
	r := &tokenRequest{Request: answers.Request{
		Request: tokenreq.Request{
			Kind: tokenreq.UserRefresh, Lineage: tokenreq.Lineage{Account: "uid.utid"},
			Terms: tokenreq.Terms{Asked: "asked"}, Scopes: msaldoc.NewScopes([]string{"mail"}),
		},
		Partitions: []id{layout.PartitionID("uid.utid")}, Tenants: []string{"t"},
	}}
	g.o.Store.Hear(r.Partitions[0], layout.Tombstone{Whole: out, Early: 3 * time.Second})
	s := &record.Snapshot{Entries: map[string]record.Entry{}}
	for secret, of := range map[string]struct {
		target         string
		stamp, session redistime.Time
	}{
		"of after":          {"mail", now + 2, out},
		"of before":         {"mail calendar", now + 3, out - 1},
		"of after, earlier": {"mail contacts", now + 1, out + 1},
	} {
		for _, e := range (msaldoc.Issued{
			HomeAccountID: "uid.utid", Realm: "t", ClientID: "c", Target: of.target, AccessToken: secret,
			CachedAt: now.Seconds(), ExpiresOn: now.Add(4 * time.Minute).Seconds(),
		}).Entries() {
			if e.Section == msaldoc.SectionAccessToken {
				e.Asked = "asked"
				x := record.New(e, of.stamp, of.session)
				s.Entries[x.Field] = x
			}
		}
	}
	for _, want := range []struct {
		secret string
		serves bool
	}{{"of before", false}, {"of after", true}, {"of after, earlier", true}} {
		at, ok := match(s, r, now)
		if !ok || at.Secret != want.secret {
			t.Fatalf("%q %v matches, want %q", at.Secret, ok, want.secret)
		}
		if serves := g.oldServes(r, answerFrom(s, at, now)); serves != want.serves {
			t.Errorf("%s: it serves: %v", want.secret, serves)
		}
		delete(s.Entries, at.Field)
	}
}
