package answers

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// newShared is a Shared whose Redis does not answer.
func newShared(tb testing.TB) *Shared {
	tb.Helper()
	return onStage(stage.New(tb, stage.Answering(tb, nil), stage.Options{}))
}

func onStage(s *stage.Stage) *Shared {
	return New(Options{
		Names: s.Names, Serializer: s.Serializer, Redis: s.Redis, Store: s.Store, Clock: s.Clock,
		Metrics: s.Metrics, Log: s.Log, LocalBytes: 1 << 20, LocalTTL: time.Hour,
	})
}

const partition layout.ID = "of the app"

// appRequest is a request for an app's token.
func appRequest() *Request {
	return &Request{
		Request: tokenreq.Request{Kind: tokenreq.App, ID: "x", Base: "x"},
		Tenants: []string{"t"}, Partitions: []layout.ID{partition},
	}
}

// said is an answer that is asked for at a time.
func said(status int, body string, at redistime.Time) *Answer {
	a := &Answer{Answer: &tokenresp.Answer{
		Status: status, Body: []byte(body), Header: map[string]string{}, Started: at, Received: at, Stamp: at,
	}}
	a.Judge()
	if !a.Good {
		a.PauseAfter(0, time.Now())
	}
	return a
}
