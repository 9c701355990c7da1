package gate

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

var (
	byCode      = url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
	byAssertion = url.Values{"grant_type": {tokenreq.GrantOnBehalfOf}, "assertion": {"x"},
		"requested_token_use": {"on_behalf_of"}}
)

func byRefreshToken(secret string) url.Values {
	return url.Values{"grant_type": {tokenreq.GrantRefreshToken}, "refresh_token": {secret}}
}

// session is a gate at whose endpoint one user's tokens are had: a1 and r1, a2 and r2, and so on.
type session struct {
	*Gate
	t     *testing.T
	asked int
	at    map[int]func() // before the n-th answer
	gated http.RoundTripper
}

const whose = "uid.utid"

func newSession(t *testing.T) *session {
	s := &session{Gate: newGate(t), t: t, at: map[int]func(){}}
	s.gated = s.Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
		s.asked++
		if f := s.at[s.asked]; f != nil {
			f()
		}
		return stage.Says(200, fmt.Sprintf(`{"access_token":"a%d","refresh_token":"r%d","expires_in":3600,`+
			`"token_type":"Bearer","client_info":%q}`, s.asked, s.asked, tokenresp.ClientInfo(whose)))(req)
	}))
	return s
}

// gets asks for a token, and checks what the answer has.
func (s *session) gets(want, scope string, form url.Values) {
	s.t.Helper()
	form = maps.Clone(form)
	for name, value := range map[string]string{"client_id": "c", "client_secret": "s", "scope": scope} {
		form.Set(name, value)
	}
	_, body, err := stage.Ask(s.t.Context(), s.gated, form.Encode())
	if err != nil || !strings.Contains(body, `"`+want+`"`) {
		s.t.Errorf("%s %v, want %s", body, err, want)
	}
}

func (s *session) signOut() {
	s.o.Store.BeginRemoval(s.o.Store.Of(layout.PartitionID(whose), false), nil)
	s.Forget(layout.PartitionID(whose))
}

// A user has signed out, and the same assertion has brought tokens of after it. Who still has the refresh token of
// before goes on with the assertion and is given these; they do not become tokens of before by that.
func TestTokensOfAfterASignOutStayThat(t *testing.T) {
	s := newSession(t)
	s.gets("r1", "one", byAssertion)
	s.signOut()
	s.gets("r2", "one", byAssertion)
	s.gets("invalid_grant", "one", byRefreshToken("r1"))
	s.gets("r2", "one", byAssertion)
	s.gets("a3", "two", byRefreshToken("r2"))
}

// So it is where the sign-out is not heard yet, and another instance has brought them: who is given them for a refresh
// token of before notes them as what they are.
func TestTokensOfAfterAnUnheardSignOutStayThat(t *testing.T) {
	s := newSession(t)
	s.gets("r1", "one", byAssertion)
	before, _ := s.o.Tokens.Of("r1")
	out := s.o.Store.Asked(s.o.Clock.Now())
	s.answers.Forget(layout.PartitionID(whose))
	s.gets("r2", "one", byAssertion)
	s.o.Tokens = issued.NewTokens(s.o.Store, s.o.Clock) // as if another instance had brought r2
	s.o.Tokens.Note(&tokenresp.Answer{Body: []byte(`{"refresh_token":"r1"}`)}, before)
	s.gets("r2", "one", byRefreshToken("r1"))
	s.o.Store.Hear(layout.PartitionID(whose), layout.Tombstone{Whole: out})
	s.gets("invalid_grant", "two", byRefreshToken("r1"))
	s.gets("a3", "two", byRefreshToken("r2"))
}

// A sign-out that overtakes a refresh on behalf of its user ends what that brings, also where one of several Redis
// servers has a clock that is ahead.
func TestSignOutEndsARefreshOnItsWayWhereAClockIsAhead(t *testing.T) {
	for _, ahead := range []time.Duration{0, 3 * time.Second} {
		t.Run(ahead.String(), func(t *testing.T) {
			s := newSession(t)
			now, told := time.Now(), s.o.Clock.Now()
			s.o.Clock.Observe(now, now, told.Add(ahead))
			s.o.Clock.Observe(now, now, told)
			s.at[2] = s.signOut
			s.gets("a1", "one", byAssertion)
			s.gets("a2", "two", byRefreshToken("r1"))
			s.gets("a3", "two", byAssertion)
		})
	}
}

// A user has signed in after a sign-out that is as of a time ahead of Redis's, and is heard later. What comes of that
// sign-in goes on.
func TestRefreshTokensOfASignInAfterAnEarlySignOutGoOn(t *testing.T) {
	for name, signIn := range map[string]url.Values{"sign-in": byCode, "on behalf of": byAssertion} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t)
			now, out := time.Now(), s.o.Clock.Now()
			s.o.Clock.Observe(now, now, out)
			time.Sleep(time.Millisecond) // by the clock, the sign-in is after the sign-out
			s.gets("a1", "one", signIn)
			s.o.Store.Hear(layout.PartitionID(whose), layout.Tombstone{Whole: out.Add(3 * time.Second), Early: 3 * time.Second})
			for n := 1; n <= 3; n++ {
				s.gets(fmt.Sprint("a", n+1), fmt.Sprint("scope ", n), byRefreshToken(fmt.Sprint("r", n)))
			}
		})
	}
}

// ahead notes the outcomes of refreshes ahead.
type ahead struct {
	telemetry.Recorder
	outcomes []string
}

func (a *ahead) RefreshedAhead(_ context.Context, outcome string) {
	a.outcomes = append(a.outcomes, outcome)
}

// A refresh ahead that fails because Redis is away, where that fails a request, counts as failed.
func TestRefreshAheadThatRedisFailsHasAnOutcome(t *testing.T) {
	g := newGate(t)
	seen := &ahead{Recorder: g.o.Metrics}
	g.o.Metrics, g.o.FailClosed = seen, true
	r := &tokenRequest{Request: answers.Request{
		Request:    tokenreq.Request{Kind: tokenreq.App, Grant: tokenreq.App.FirstGrant(), ID: "id", Base: "id"},
		Partitions: []id{"p"}, Tenants: []string{"t"},
	}, flight: "f"}
	f, _ := g.flights.join(g, r.flight, r.Partitions, func(life context.Context, f *flight) { g.lead(life, r, f, true) })
	<-f.over
	if !slices.Equal(seen.outcomes, []string{outcomeFailed}) {
		t.Errorf("%q, want %q", seen.outcomes, outcomeFailed)
	}
}
