package issued_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// Each token of an answer is known, with the answer's stamp, and nothing else is; after an answer that nobody has read
// any may have passed.
func TestTokensOfAnAnswer(t *testing.T) {
	tokens := issued.NewTokens(nil, nil)
	tokens.Note(&tokenresp.Answer{
		Body:  []byte(`{"access_token":"a","refresh_token":"r","id_token":"i","scope":"s","token_type":"Bearer"}`),
		Stamp: 7,
	}, issued.Token{Stamp: 3, Session: 5})
	tokens.Note(&tokenresp.Answer{Body: []byte(`{"access_token":"b","refresh_token":"","id_token":1}`)}, issued.Token{})
	for secret, known := range map[string]bool{
		"a": true, "r": true, "i": true, "b": true, "": false, "s": false, "Bearer": false, "1": false, "another": false,
	} {
		from, ok := tokens.Of(secret)
		if ok != known || tokens.Passed(secret) != known {
			t.Errorf("%q is known: %v, want %v", secret, ok, known)
		}
		if known && secret != "b" && (from.Stamp != 7 || from.Session != 5) {
			t.Errorf("%q comes from %+v", secret, from)
		}
	}
	tokens.PassUnread()
	if !tokens.Passed("another") {
		t.Error("a token that came in an answer that nobody has read has not passed")
	}
}

// Of the clocks that dated a sign-in the one that was ahead counts, if it was asked for here.
func TestSessionIsByTheClockThatWasAhead(t *testing.T) {
	start := time.Unix(1000, 0)
	clock := redistime.New(start, time.Hour)
	tokens := issued.NewTokens(nil, clock)
	const began = 5 * time.Second
	if got := tokens.Session(issued.Token{Session: 3, Began: began}); got != 3 {
		t.Errorf("while nothing is known of Redis's clock: %d", got)
	}
	clock.Observe(start, start, redistime.OfSeconds(2000))
	for from, want := range map[redistime.Time]redistime.Time{
		redistime.OfSeconds(1999): redistime.OfSeconds(2005), // before the process's start, by Redis's clock
		redistime.OfSeconds(2006): redistime.OfSeconds(2006),
	} {
		if got := tokens.Session(issued.Token{Session: from, Began: began}); got != want {
			t.Errorf("of %d here: %d, want %d", from, got, want)
		}
		if got := tokens.Session(issued.Token{Session: from}); got != from {
			t.Errorf("of %d elsewhere: %d", from, got)
		}
	}
}

// A token ends with the sign-out of any of its users that its session was not of after.
func TestEndedWithItsUser(t *testing.T) {
	s := stage.New(t, stage.Answering(t, nil), stage.Options{})
	signOut := s.Clock.Now()
	s.Store.Hear("out", layout.Tombstone{Whole: signOut})
	before, after := signOut-1, signOut
	now := time.Now()
	s.Clock.Observe(now, now, signOut.Add(time.Minute)) // a server whose clock is ahead
	began := time.Duration(s.Clock.Elapsed())
	for name, test := range map[string]struct {
		from  issued.Token
		ended bool
	}{
		"before":                  {issued.Token{Session: before, Owners: []layout.ID{"out"}}, true},
		"after":                   {issued.Token{Session: after, Owners: []layout.ID{"out"}}, false},
		"another user's":          {issued.Token{Session: before, Owners: []layout.ID{"in"}}, false},
		"a user of two names":     {issued.Token{Session: before, Owners: []layout.ID{"in", "out"}}, true},
		"an app's":                {issued.Token{Session: before}, false},
		"after, by another clock": {issued.Token{Session: before, Began: began, Owners: []layout.ID{"out"}}, false},
	} {
		if got := s.Tokens.Ended(test.from); got != test.ended {
			t.Errorf("%s: ended %v, want %v", name, got, test.ended)
		}
	}
}

// refresh is an account's refresh token.
func refresh(secret, account string) msaldoc.Entry {
	return msaldoc.Entry{
		Section: msaldoc.SectionRefreshToken, HomeAccountID: account, Secret: secret, Environment: "e", FamilyID: "1",
	}
}

// An account's refresh token has the lineage of the account, by what was learnt last; what an answer brought has that
// of its request.
func TestLineageOfARefreshToken(t *testing.T) {
	lineages := issued.NewLineages()
	accessToken := refresh("an access token", "u.t")
	accessToken.Section = msaldoc.SectionAccessToken
	moved := refresh("moved", "u.t")
	moved.FamilyID = ""
	for _, e := range []msaldoc.Entry{
		refresh("known", "u.t"), accessToken, refresh("nobody's", ""), refresh("", "u.t"), refresh("moved", "u.t"), moved,
	} {
		lineages.Learn(e)
	}
	followed := tokenreq.Lineage{Kind: tokenreq.OnBehalfOfRefresh, Assertion: "x"}
	lineages.Follow("followed", followed)
	account := tokenreq.Lineage{
		Kind: tokenreq.UserRefresh, Account: "u.t", Partition: layout.PartitionID("u.t"), Environment: "e", Family: "1",
	}
	ofNoFamily := account
	ofNoFamily.Family = ""
	for secret, want := range map[string]tokenreq.Lineage{
		"known": account, "moved": ofNoFamily, "followed": followed, "an access token": {}, "nobody's": {}, "": {},
	} {
		if got := lineages.Of(secret); got != want {
			t.Errorf("%q: %+v, want %+v", secret, got, want)
		}
	}
}

// What is remembered of a refresh token holds nothing of the document that it was read from, which has secrets in it.
func TestLineageDoesNotHoldItsDocument(t *testing.T) {
	document := strings.Repeat("u.t e1 secret ", 1000)
	at := uintptr(unsafe.Pointer(unsafe.StringData(document)))
	lineages := issued.NewLineages()
	lineages.Learn(msaldoc.Entry{
		Section: msaldoc.SectionRefreshToken, HomeAccountID: document[:3], Environment: document[4:5],
		FamilyID: document[5:6], Secret: document[7:13],
	})
	l := lineages.Of("secret")
	for name, s := range map[string]string{"account": l.Account, "environment": l.Environment, "family": l.Family} {
		if p := uintptr(unsafe.Pointer(unsafe.StringData(s))); s == "" || p >= at && p < at+uintptr(len(document)) {
			t.Errorf("the %s %q is a part of the document", name, s)
		}
	}
}

// tombstones are what is known to be removed, as the store knows it.
type tombstones struct{ whole atomic.Int64 }

const user, other, key = layout.ID("user"), layout.ID("other"), "the assertion's"

func (ts *tombstones) of(pid layout.ID) layout.Tombstone {
	if pid != user {
		return layout.Tombstone{}
	}
	return layout.Tombstone{Whole: redistime.Time(ts.whole.Load())}
}

// msal is MSAL's memory of on-behalf-of tokens, of one assertion.
type msal struct {
	emptiedAt int64
	has       bool
}

// look is MSAL's look for the assertion's token.
func (m *msal) look(o *issued.OnBehalfOf) {
	if emptyings := o.Used(key); emptyings != m.emptiedAt {
		m.emptiedAt, m.has = emptyings, false
	}
}

// MSAL keeps no on-behalf-of token that was asked for before its user signed out, whatever comes first: the answer, its
// storing, or the sign-out. It keeps every other, until the next.
func TestSignOutLeavesMSALNoTokenOfBefore(t *testing.T) {
	const signOut = redistime.Time(100)
	for name, test := range map[string]struct {
		owners []layout.ID
		asked  redistime.Time
		ended  bool
	}{
		"before":              {[]layout.ID{user}, signOut - 1, true},
		"after":               {[]layout.ID{user}, signOut, false},
		"another user's":      {[]layout.ID{other}, signOut - 1, false},
		"a user of two names": {[]layout.ID{other, user}, signOut - 1, true},
		"perhaps the user's":  {nil, signOut - 1, true},
		"nobody's, of after":  {nil, signOut, false},
	} {
		for _, order := range []string{
			"give store hear", "give hear store", "hear give store", "give hear keep", "hear give keep",
		} {
			t.Run(name+"/"+order, func(t *testing.T) {
				var removed tombstones
				o, m := issued.NewOnBehalfOf(0, removed.of), msal{}
				m.look(o)
				for _, step := range strings.Fields(order) {
					switch step {
					case "give":
						o.Gave(key, test.owners, test.asked)
					case "store":
						m.has = true
						if !o.Stored(key) {
							t.Error("it is not known where MSAL has looked")
						}
					case "keep": // MSAL does not tell that it has stored an answer whose scopes were declined
						m.has = true
					case "hear":
						removed.whole.Store(int64(signOut))
						o.Remove(user, removed.of(user), false)
					}
				}
				m.look(o)
				if m.has == test.ended {
					t.Errorf("MSAL has it: %v, want %v", m.has, !test.ended)
				}
				o.Gave(key, test.owners, signOut+1)
				m.has = true
				o.Stored(key)
				if m.look(o); !m.has {
					t.Error("MSAL does not keep one of after the sign-out")
				}
			})
		}
	}
}

// A token that came past the gate may be of whoever signs out here, and of anyone where sign-outs went unheard; what
// only forgets some scopes, or signs out elsewhere, leaves it.
func TestTokenPastTheGate(t *testing.T) {
	for name, test := range map[string]struct {
		remove func(*issued.OnBehalfOf)
		ended  bool
	}{
		"here":      {func(o *issued.OnBehalfOf) { o.Remove(user, layout.Tombstone{Whole: 100}, true) }, true},
		"elsewhere": {func(o *issued.OnBehalfOf) { o.Remove(user, layout.Tombstone{Whole: 100}, false) }, false},
		"unheard":   {(*issued.OnBehalfOf).RemoveAll, true},
	} {
		o, m := issued.NewOnBehalfOf(0, new(tombstones).of), msal{}
		m.look(o)
		m.has = true
		o.Stored(key)
		test.remove(o)
		if m.look(o); m.has == test.ended {
			t.Errorf("%s: MSAL has it: %v", name, m.has)
		}
	}
}

// An answer that does not name its user is of those whom an earlier one to the assertion has named.
func TestOwnersStay(t *testing.T) {
	var removed tombstones
	o, m := issued.NewOnBehalfOf(0, removed.of), msal{}
	m.look(o)
	o.Gave(key, []layout.ID{other}, 1)
	o.Gave(key, nil, 2)
	m.has = true
	o.Remove(user, layout.Tombstone{Whole: 100}, false)
	if m.look(o); !m.has {
		t.Error("it has gone with another user")
	}
	o.Remove(other, layout.Tombstone{Whole: 100}, false)
	if m.look(o); m.has {
		t.Error("it has not gone with its user")
	}
}

// There is a bound to what MSAL keeps. What it is storing when that is reached is still known, until it is reached
// again.
func TestOnBehalfOfBound(t *testing.T) {
	for localBytes, atMost := range map[int64]int{0: 64, 1 << 20: 128} {
		o := issued.NewOnBehalfOf(localBytes, new(tombstones).of)
		o.Used(key)
		o.Gave(key, []layout.ID{user}, 1)
		n := 1
		until := func(keys int, emptyings int64) {
			t.Helper()
			for ; n < keys; n++ {
				o.Gave(strconv.Itoa(n), []layout.ID{other}, 1)
			}
			if got := o.Emptyings(); got != emptyings {
				t.Errorf("%d bytes: %d emptyings after %d assertions, want %d", localBytes, got, keys, emptyings)
			}
		}
		until(atMost, 0)
		until(atMost+1, 1)
		if !o.Stored(key) {
			t.Errorf("%d bytes: one that was on its way is not known", localBytes)
		}
		o.Remove(user, layout.Tombstone{Whole: 100}, false)
		if o.Stored(key); o.Emptyings() != 3 {
			t.Errorf("%d bytes: one that was on its way outlives its user's sign-out", localBytes)
		}
		until(2*atMost, 3)
		until(2*atMost+1, 4)
		if o.Stored(key) {
			t.Errorf("%d bytes: what is known has no bound", localBytes)
		}
	}
}

// Whoever stores while a user signs out, MSAL is emptied after that.
func TestOnBehalfOfConcurrently(t *testing.T) {
	for range 20 {
		var removed tombstones
		var all sync.WaitGroup
		o := issued.NewOnBehalfOf(0, removed.of)
		var storedAt [16]int64
		for i := range storedAt {
			all.Go(func() {
				key := strconv.Itoa(i)
				o.Used(key)
				o.Gave(key, []layout.ID{user}, 1)
				storedAt[i] = o.Emptyings()
				o.Stored(key)
			})
		}
		all.Go(func() {
			removed.whole.Store(100)
			o.Remove(user, removed.of(user), false)
		})
		all.Wait()
		for i, at := range storedAt {
			if o.Used(strconv.Itoa(i)) == at {
				t.Fatalf("what MSAL has stored after %d emptyings stays", at)
			}
		}
	}
}

// When they are full, the memories of secrets forget the oldest: half as many as their bound, the latest, are known.
func TestTheOldestSecretIsForgotten(t *testing.T) {
	const half, step, n = 65536 / 2, 64, 80_000
	tokens, lineages := issued.NewTokens(nil, nil), issued.NewLineages()
	for i := range n {
		secret := strconv.Itoa(i)
		tokens.Note(&tokenresp.Answer{Body: []byte(`{"access_token":"` + secret + `"}`)}, issued.Token{})
		lineages.Follow(secret, tokenreq.Lineage{First: "x"})
	}
	for name, knows := range map[string]func(secret string) bool{
		"a token":   func(secret string) bool { _, ok := tokens.Of(secret); return ok },
		"a lineage": func(secret string) bool { return lineages.Of(secret).First != "" },
	} {
		for i := 0; i < n; i += step {
			if i >= n-half && !knows(strconv.Itoa(i)) {
				t.Fatalf("%s: that of %d writes ago is not known", name, n-i)
			}
			if i < n-2*half && knows(strconv.Itoa(i)) {
				t.Fatalf("%s: that of %d writes ago is known", name, n-i)
			}
		}
	}
}
