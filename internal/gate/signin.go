package gate

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// signIn passes a sign-in and takes note of its tokens, and of when it was asked for: sign-outs of before that do not
// end them. A refresh ahead of them is answered from the user's record, with the old token if need be. Where it is not,
// for what was asked for is special, none is asked for: a public client of MSAL gives its caller the error of one that
// fails.
func (t *transport) signIn(req *http.Request, asked tokenreq.Request) (*http.Response, error) {
	g := t.g
	began := g.elapsed()
	session := g.o.Store.Asked(g.redisTime(req.Context()))
	started := g.o.Clock.Now()
	resp, err := t.send(req, tokenresp.AtMost, errTooLarge)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	body, err := peek(resp, tokenresp.AtMost)
	if err != nil {
		g.o.Tokens.PassUnread()
		return resp, nil // MSAL sees what there is
	}
	a := &answers.Answer{Answer: &tokenresp.Answer{
		Status: resp.StatusCode, Body: body, Started: started, Received: g.o.Clock.Now(), Stamp: started,
	}}
	a.Judge()
	if !a.Good {
		g.o.Tokens.PassUnread()
		return resp, nil
	}
	g.o.Tokens.Note(a.Answer, issued.Token{Session: session, Began: began, Terms: asked.Terms, Owners: a.Owners()})
	if !asked.Special && a.Member("refresh_token") != "" {
		a.AddRefreshIn(g.o.RefreshAt)
		resp.Body = io.NopCloser(bytes.NewReader(a.Body))
		resp.ContentLength = int64(len(a.Body))
		resp.Header.Del("Content-Length")
	}
	return resp, nil
}

// redisTime asks Redis for its time, by which a session is ordered among sign-outs. Where it does not tell, this is
// what we believe.
func (g *Gate) redisTime(ctx context.Context) redistime.Time {
	var us atomic.Int64
	keys := []string{g.o.Names.Response("time"), g.o.Names.Pause("time")}
	err := g.o.Redis.Run(ctx, layout.LookScript, keys, func(r redisop.Reply) error {
		us.Store(r.Time.Micros())
		return nil
	})
	if err != nil || us.Load() == 0 {
		return g.o.Clock.Now()
	}
	return redistime.Time(us.Load())
}
