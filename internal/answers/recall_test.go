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

// seenBefore is a case of what this process has seen before it is asked, and whether that serves without a look.
type seenBefore struct {
	body string // of the answer; "": a good one for an hour
	age  time.Duration
	kind tokenreq.Kind // 0: an app's request
	then func(s *Shared, r *Request, a *Answer)
	want bool
}

// What serves without a look is what a look would find again.
func TestRecalled(t *testing.T) {
	const other layout.ID = "of another name of the tenant"
	removed := func(s *Shared) layout.Tombstone { return layout.Tombstone{Whole: s.o.Clock.Now().Add(time.Second)} }
	for name, test := range map[string]seenBefore{
		"confirmed":                    {want: true},
		"refresh of a user":            {kind: tokenreq.UserRefresh},
		"on behalf of":                 {kind: tokenreq.OnBehalfOf},
		"refresh on behalf of":         {kind: tokenreq.OnBehalfOfRefresh},
		"user by federated credential": {kind: tokenreq.UserFIC},
		"unknown refresh":              {kind: tokenreq.UnknownRefresh},
		"rotated refresh":              {kind: tokenreq.RotatedRefresh},
		"challenged":                   {then: func(_ *Shared, r *Request, _ *Answer) { r.Challenge = "of the resource" }},
		"older than LocalTTL":          {then: func(s *Shared, _ *Request, _ *Answer) { s.o.LocalTTL = 1 }},
		"not due": {
			body: `{"access_token":"a","expires_in":3600,"refresh_in":1800}`, age: time.Minute, want: true,
		},
		"due":                 {body: `{"access_token":"a","expires_in":3600,"refresh_in":30}`, age: time.Minute},
		"in its last minutes": {age: 56 * time.Minute},
		"expired":             {age: 61 * time.Minute},
		"removed here": {then: func(s *Shared, _ *Request, _ *Answer) {
			s.o.Store.BeginRemoval(s.o.Store.Of(partition, false), nil)
		}},
		"removed elsewhere, and not gone through yet": {then: func(s *Shared, _ *Request, _ *Answer) {
			s.o.Store.Hear(partition, removed(s))
		}},
		"removed in other scopes": {want: true, then: func(s *Shared, _ *Request, _ *Answer) {
			s.o.Store.BeginRemoval(s.o.Store.Of(partition, false), []string{"another"})
		}},
		"forgotten": {then: func(s *Shared, _ *Request, _ *Answer) { s.Forget(partition) }},
		"removed elsewhere while it was on its way": {then: func(s *Shared, r *Request, a *Answer) {
			s.o.Store.Hear(partition, removed(s))
			s.Forget(partition)
			s.memory.confirm(r.ID, r.Partitions, a, s.elapsed())
			s.memory.list(r.ID, r.Partitions)
		}},
		"replaced by a challenge": {then: func(s *Shared, r *Request, _ *Answer) { s.Remove(t.Context(), r.ID) }},
		"replaced by a challenge while it was on its way": {then: func(s *Shared, r *Request, a *Answer) {
			asked := s.elapsed()
			s.Remove(t.Context(), r.ID)
			s.memory.confirm(r.ID, r.Partitions, a, asked)
			s.memory.list(r.ID, r.Partitions)
		}},
		"found gone": {then: func(s *Shared, r *Request, _ *Answer) {
			s.memory.confirm(r.ID, r.Partitions, nil, s.elapsed())
		}},
		"found gone by a look of before it was confirmed": {want: true, then: func(s *Shared, r *Request, _ *Answer) {
			s.memory.confirm(r.ID, r.Partitions, nil, 1)
		}},
		"newer here, and not taken by Redis": {then: func(s *Shared, r *Request, a *Answer) {
			s.memory.put(r.ID, r.Partitions, said(200, stage.GoodToken, a.Stamp+1))
			s.memory.confirm(r.ID, r.Partitions, a, s.elapsed())
		}},
		"newer here": {then: func(s *Shared, r *Request, a *Answer) {
			s.memory.put(r.ID, r.Partitions, said(200, stage.GoodToken, a.Stamp+1))
		}},
		"newer in Redis, and the names not listed for it": {then: func(s *Shared, r *Request, a *Answer) {
			s.memory.confirm(r.ID, r.Partitions, said(200, stage.GoodToken, a.Stamp+1), s.elapsed())
		}},
		"refused by a removal": {then: func(s *Shared, r *Request, a *Answer) { s.memory.takeBack(r.ID, a) }},
		"a pause of all": {want: true, then: func(s *Shared, r *Request, _ *Answer) {
			s.Keep(t.Context(), r, r.ID, said(503, "", s.o.Clock.Now()))
		}},
		"a refusal of another's credential": {want: true, then: func(s *Shared, r *Request, _ *Answer) {
			another := *r
			another.Credential = tokenreq.Credential{Exact: "another"}
			s.Keep(t.Context(), &another, r.ID, said(401, `{"error":"invalid_client"}`, s.o.Clock.Now()))
		}},
		"by another name of the tenant": {then: func(_ *Shared, r *Request, _ *Answer) {
			r.Partitions = append(r.Partitions, other)
		}},
		"by one of the tenant's names, another of which was removed": {then: func(s *Shared, r *Request, _ *Answer) {
			s.memory.list(r.ID, []layout.ID{partition, other})
			s.o.Store.Hear(other, removed(s))
		}},
	} {
		t.Run(name, func(t *testing.T) { test.run(t) })
	}
}

func (test seenBefore) run(t *testing.T) {
	s, r := newShared(t), appRequest()
	if test.kind != 0 {
		r.Kind = test.kind
	}
	if test.body == "" {
		test.body = stage.GoodToken
	}
	a := said(200, test.body, s.o.Clock.Now().Add(-test.age))
	s.memory.confirm(r.ID, r.Partitions, a, s.elapsed())
	s.memory.list(r.Base, r.Partitions)
	if test.then != nil {
		test.then(s, r, a)
	}
	if got := s.Recall(r); (got != nil) != test.want || got != nil && got != a {
		t.Errorf("recalled %v, want it: %v", got, test.want)
	}
}

// fake is a Redis that has one answer, says what becomes of another, and has something happen before it answers a look
// or forgets an answer.
type fake struct {
	value, kept string
	meanwhile   func()
}

func (f *fake) says(command string) []byte {
	fields := []string{"1"}
	switch {
	case strings.Contains(command, layout.LookScript.Hash()):
		if f.meanwhile != nil {
			f.meanwhile()
		}
		fields = []string{f.value, ""}
	case strings.Contains(command, layout.RespondScript.Hash()):
		fields = []string{f.kept}
	case strings.Contains(command, layout.ForgetScript.Hash()):
		f.meanwhile()
	}
	reply := fmt.Appendf(nil, "*%d\r\n$16\r\n%d\r\n", len(fields)+1, time.Now().UnixMicro())
	for _, field := range fields {
		reply = fmt.Appendf(reply, "$%d\r\n%s\r\n", len(field), field)
	}
	return reply
}

// What a look finds is confirmed as of before it was asked, and serves once the tenant's names are listed; what happens
// between the look and its note counts.
func TestLookConfirms(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(s *Shared, r *Request)
		unlisted  bool
		want      bool
	}{
		"found":                  {want: true},
		"found, and not listed":  {unlisted: true},
		"removed here meanwhile": {meanwhile: func(s *Shared, r *Request) { s.memory.remove(r.ID, s.elapsed()) }},
		"removed elsewhere meanwhile": {meanwhile: func(s *Shared, _ *Request) {
			s.o.Store.Hear(partition, layout.Tombstone{Whole: s.o.Clock.Now().Add(time.Second)})
			s.Forget(partition)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			s, r := onStage(stage.New(t, stage.Answering(t, f.says), stage.Options{NoBreaker: true})), appRequest()
			a := said(200, stage.GoodToken, s.o.Clock.Now())
			var err error
			if f.value, err = s.o.Store.Seal(s.o.Names.Response(r.ID), a.Stamp, a.encode(r)); err != nil {
				t.Fatal(err)
			}
			if test.meanwhile != nil {
				f.meanwhile = func() { test.meanwhile(s, r) }
			}
			if _, _, err := s.Look(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if s.Recall(r) != nil {
				t.Error("it serves before the tenant's names are listed")
			}
			if !test.unlisted {
				s.ListNames(t.Context(), r, time.Hour)
			}
			if got := s.Recall(r); (got != nil) != test.want {
				t.Errorf("recalled %v, want it: %v", got, test.want)
			}
		})
	}
}

// What is removed serves nobody while Redis is told, and neither does what is found there meanwhile.
func TestRemovedServesNobodyFromBeforeRedisIsToldOn(t *testing.T) {
	f := &fake{}
	s, r := onStage(stage.New(t, stage.Answering(t, f.says), stage.Options{NoBreaker: true})), appRequest()
	a := said(200, stage.GoodToken, s.o.Clock.Now())
	found := func() {
		s.memory.confirm(r.ID, r.Partitions, a, s.elapsed())
		s.memory.list(r.ID, r.Partitions)
	}
	found()
	f.meanwhile = func() {
		if s.Recall(r) != nil {
			t.Error("it serves while Redis is told")
		}
		found()
		if s.Recall(r) == nil {
			t.Error("what is found meanwhile is not seen")
		}
	}
	s.Remove(t.Context(), r.ID)
	if s.Recall(r) != nil {
		t.Error("it serves afterwards")
	}
}

// What is kept is confirmed when Redis has taken it, and not where a removal refuses it or a newer one is there.
func TestKeepConfirms(t *testing.T) {
	for kept, want := range map[string]bool{"1": true, "0": false, "-1": false} {
		f := &fake{kept: kept}
		s, r := onStage(stage.New(t, stage.Answering(t, f.says), stage.Options{NoBreaker: true})), appRequest()
		r.Partitions = nil // the fake hangs up after an answer, and there is one connection
		s.Keep(t.Context(), r, r.ID, said(200, stage.GoodToken, s.o.Clock.Now()))
		if got := s.Recall(r); (got != nil) != want {
			t.Errorf("Redis says %s: recalled %v, want it: %v", kept, got, want)
		}
	}
	s, r := newShared(t), appRequest()
	s.memory.list(r.ID, r.Partitions)
	s.Keep(t.Context(), r, r.ID, said(200, stage.GoodToken, s.o.Clock.Now()))
	if s.Recall(r) != nil {
		t.Error("what Redis has not taken serves without a look")
	}
}

// Names that could not be listed leave the next request to a look.
func TestNamesThatAreNotListedKeepFromRecalling(t *testing.T) {
	refuses := func(command string) []byte {
		if strings.Contains(command, layout.EnlistScript.Hash()) {
			return []byte("-ERR refused\r\n")
		}
		return (&fake{}).says(command)
	}
	s, r := onStage(stage.New(t, stage.Answering(t, refuses), stage.Options{NoBreaker: true})), appRequest()
	r.Partitions = append(r.Partitions, "of another name")
	s.memory.confirm(r.ID, r.Partitions, said(200, stage.GoodToken, s.o.Clock.Now()), s.elapsed())
	s.memory.list(r.ID, r.Partitions)
	if s.Recall(r) == nil {
		t.Fatal("it does not serve before")
	}
	s.ListNames(t.Context(), r, time.Hour)
	if s.Recall(r) != nil {
		t.Error("it serves, and no removal under another name would find it")
	}
}

// A look that was asked before a token was replaced brings it back to nobody, whatever has been forgotten since.
func TestLateLookAfterAReplacementWasForgotten(t *testing.T) {
	s, r := newShared(t), appRequest()
	refused := said(200, stage.GoodToken, s.o.Clock.Now())
	asked := s.elapsed() // a look, which finds the token that is refused, and arrives late
	s.Remove(t.Context(), r.ID)
	s.Keep(t.Context(), r, r.ID, said(200, stage.GoodToken, refused.Stamp+1)) // asked for anew
	s.Forget(partition)                                                       // of a removal in other scopes
	s.memory.confirm(r.ID, r.Partitions, refused, asked)
	s.memory.list(r.ID, r.Partitions)
	if s.Recall(r) == refused {
		t.Error("the refused token is given")
	}
}
