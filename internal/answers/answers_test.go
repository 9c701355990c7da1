package answers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// An answer that a removal has ended is not found, though this process has it, and none of before it is taken in.
func TestEndedAnswerIsNotFound(t *testing.T) {
	s, r := newShared(t), appRequest()
	a := said(200, stage.GoodToken, s.o.Store.Asked(s.o.Clock.Now()))
	s.Keep(t.Context(), r, r.ID, a)
	if found, _, err := s.Look(t.Context(), r); found.Answer != a || err == nil {
		t.Fatalf("while Redis is away %v %v is found, want what this process has seen, and the error", found, err)
	}
	s.o.Store.BeginRemoval(s.o.Store.Of(partition, false), nil)
	if found, _, _ := s.Look(t.Context(), r); found.Answer != nil {
		t.Error("it is found after its removal")
	}
	s.Forget(partition)
	s.Keep(t.Context(), r, r.ID, a)
	if s.memory.of(r.ID).answer != nil {
		t.Error("it is taken in after its removal")
	}
}

// Of two answers the newer one stays, whichever comes last, and it ends the pause.
func TestNewerAnswerStays(t *testing.T) {
	for _, newerFirst := range []bool{false, true} {
		s, r := newShared(t), appRequest()
		now := s.o.Clock.Now()
		older, newer := said(200, stage.GoodToken, now), said(200, stage.GoodToken, now.Add(time.Millisecond))
		s.Keep(t.Context(), r, r.ID, said(503, "", now))
		if found, _, _ := s.Look(t.Context(), r); found.Pause == nil {
			t.Fatal("a failure makes no pause")
		}
		order := []*Answer{older, newer}
		if newerFirst {
			order = []*Answer{newer, older}
		}
		for _, a := range order {
			s.Keep(t.Context(), r, r.ID, a)
		}
		if found, _, _ := s.Look(t.Context(), r); found.Answer != newer || found.Pause != nil {
			t.Errorf("newer first %v: found %+v, want the newer one and no pause", newerFirst, found)
		}
	}
}

// What Redis refuses to take waits, and stands above what Redis has: one that is read-only says that there is nothing.
func TestWhatWaitsStandsAboveWhatRedisHas(t *testing.T) {
	look := layout.LookScript.Hash()
	readOnly := func(command string) []byte {
		if strings.Contains(command, look) {
			return fmt.Appendf(nil, "*3\r\n$16\r\n%d\r\n$0\r\n\r\n$0\r\n\r\n", time.Now().UnixMicro())
		}
		return []byte("-READONLY You can't write against a read only replica.\r\n")
	}
	for name, test := range map[string]struct{ waits, removed, found bool }{
		"seen, and not waiting":    {},
		"waiting":                  {waits: true, found: true},
		"waiting, and removed now": {waits: true, removed: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := onStage(stage.New(t, stage.Answering(t, readOnly), stage.Options{NoBreaker: true})), appRequest()
			a := said(200, stage.GoodToken, s.o.Clock.Now())
			s.memory.put(r.ID, r.Partitions, a)
			if test.waits {
				s.Keep(t.Context(), r, r.ID, a)
			}
			if test.removed {
				s.o.Store.BeginRemoval(s.o.Store.Of(partition, false), nil)
			}
			found, _, err := s.Look(t.Context(), r)
			if err != nil || (found.Answer == a) != test.found || (found.Answer != nil) != test.found {
				t.Errorf("found %+v %v, want it: %v", found, err, test.found)
			}
		})
	}
}

// What this process alone has met is found by who asks by the same base transport.
func TestOwnTroubleIsFoundByItsBaseTransport(t *testing.T) {
	s := newShared(t)
	one, other := appRequest(), appRequest()
	one.By, other.By = new(int), new(int)
	own := said(503, "<html>", s.o.Clock.Now())
	own.Own, own.By = true, one.By
	s.Keep(t.Context(), one, one.ID, own)
	if found, _, _ := s.Look(t.Context(), one); found.Pause != own {
		t.Errorf("who met it finds %v", found.Pause)
	}
	if found, _, _ := s.Look(t.Context(), other); found.Pause != nil {
		t.Errorf("another finds %v", found.Pause)
	}
}

// Who has a refused credential finds its refusal, whosever was refused last; and a passing pause stands above it.
func TestRefusalIsFoundByItsCredential(t *testing.T) {
	s := newShared(t)
	now := s.o.Clock.Now()
	one, other := appRequest(), appRequest()
	one.Credential, other.Credential = tokenreq.Credential{Exact: "one"}, tokenreq.Credential{Exact: "other"}
	refusal := func(r *Request) *Answer {
		a := said(401, `{"error":"invalid_client"}`, now)
		s.Keep(t.Context(), r, r.ID, a)
		return a
	}
	ofOne, ofOther := refusal(one), refusal(other)
	for r, want := range map[*Request]*Answer{one: ofOne, other: ofOther} {
		if found, _, _ := s.Look(t.Context(), r); found.Pause != want {
			t.Errorf("credential %s finds %v, want its own refusal", r.Credential.Exact, found.Pause)
		}
	}
	throttled := said(503, `{"error":"temporarily_unavailable"}`, now)
	s.Keep(t.Context(), one, one.ID, throttled)
	if found, _, _ := s.Look(t.Context(), one); found.Pause != throttled {
		t.Errorf("while Entra ID fails %v is found", found.Pause)
	}
	s.EndPause(t.Context(), one.ID)
	if found, _, _ := s.Look(t.Context(), one); found.Pause != ofOne {
		t.Errorf("when Entra ID answers again %v is found", found.Pause)
	}
}

// An answer of a user whom nothing names is not kept, for a sign-out could not find it; an app's names nobody.
func TestAnswerThatNamesNobodyIsNotKept(t *testing.T) {
	for kind, kept := range map[tokenreq.Kind]bool{tokenreq.App: true, tokenreq.OnBehalfOf: false} {
		s := newShared(t)
		r := &Request{Request: tokenreq.Request{Kind: kind, ID: "x"}, Tenants: []string{"t"}}
		s.Keep(t.Context(), r, r.ID, said(200, stage.GoodToken, s.o.Clock.Now()))
		if found, _, _ := s.Look(t.Context(), r); (found.Answer != nil) != kept {
			t.Errorf("kind %v: kept %v, want %v", kind, found.Answer != nil, kept)
		}
	}
}

// What this process has seen stays within its bound.
func TestMemoryIsBounded(t *testing.T) {
	s, r := newShared(t), appRequest()
	body := `{"access_token":"` + strings.Repeat("a", 10_000) + `","expires_in":3600}`
	for n := range 1000 {
		s.Keep(t.Context(), r, layout.ID(fmt.Sprint(n)), said(200, body, s.o.Clock.Now()))
	}
	held := int64(0)
	for _, seen := range s.memory.seen.All() {
		held += int64(len(seen.answer.Body))
	}
	if held == 0 || held > s.o.LocalBytes || s.Size() < held {
		t.Errorf("%d bytes of answers, said to be %d, want %d at most", held, s.Size(), s.o.LocalBytes)
	}
}
