package tokenresp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// FuzzStoredAnswer: whatever a stored answer says, it is refused, or an answer that keeps its meaning.
func FuzzStoredAnswer(f *testing.F) {
	good := Answer{Status: 200, Body: []byte(`{"access_token":"a","expires_in":3600}`), Started: 1, Received: 2,
		Header: map[string]string{"Content-Type": "application/json"}}
	failed := Answer{Failures: 3, Until: 5}
	whose := layout.AnswerHead{Grant: "client_credentials", Client: "c", Tenant: "t", Scopes: "s"}
	f.Add(good.Encode(whose), int64(1), int64(2))
	f.Add(failed.Encode(whose), int64(1), int64(2))
	f.Add([]byte("{}\n"), int64(0), int64(0))
	f.Add([]byte(`{"status":503,"failures":-9}`+"\n"), int64(0), int64(0))
	f.Add([]byte(`{"status":429,"header":{"Retry-After":"Fri, 31 Dec 9999 23:59:59 GMT"}}`+"\n"), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, content []byte, stamp, now int64) {
		a, err := Decode(content, redistime.Time(stamp))
		if err != nil {
			if !errors.Is(err, layout.ErrRecord) || a != nil {
				t.Fatalf("%v %v", a, err)
			}
			return
		}
		again, err := Decode(a.Encode(whose), redistime.Time(stamp))
		if err != nil || again.Status != a.Status || again.Good != a.Good || !bytes.Equal(again.Body, a.Body) ||
			again.Until != a.Until || again.Expires != a.Expires {
			t.Fatalf("an answer changes when it is stored again: %v", err)
		}
		checkAnswer(t, a, redistime.Time(now))
	})
}

// checkAnswer holds an answer to what its callers rely on.
func checkAnswer(t *testing.T, a *Answer, now redistime.Time) {
	t.Helper()
	if !a.Good && a.Received >= 0 && a.Received < layout.MaxStamp {
		next := &Answer{Status: a.Status, Header: a.Header, Body: a.Body, Received: a.Received}
		next.PauseAfter(a.Failures, time.UnixMicro(a.Received.Micros()))
		if pause := next.Until.Sub(a.Received); pause < 0 || pause > askedPause {
			t.Fatalf("a pause of %v", pause)
		}
	}
	if a.Good && (a.Member("access_token") == "" || a.Expires <= a.Received) {
		t.Fatal("a good answer without a living token")
	}
	var read struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if a.Good && utf8.Valid(a.Body) && json.Unmarshal(a.Body, &read) == nil &&
		(read.AccessToken != a.Member("access_token") || read.RefreshToken != a.Member("refresh_token")) {
		t.Fatal("MSAL reads other tokens than the gate")
	}
	for _, soon := range []bool{false, true} {
		resp := a.Response(asked, now, soon)
		body, err := io.ReadAll(resp.Body)
		if err != nil || int64(len(body)) != resp.ContentLength {
			t.Fatalf("a body of %d bytes, said to have %d: %v", len(body), resp.ContentLength, err)
		}
		if !a.Good {
			if !bytes.Equal(body, a.Body) {
				t.Fatal("an answer that is not understood was changed")
			}
			continue
		}
		var before, after map[string]any
		if err := errors.Join(json.Unmarshal(a.Body, &before), json.Unmarshal(body, &after)); err != nil {
			t.Fatalf("a good answer is no JSON: %v", err)
		}
		for name, v := range before {
			switch name {
			case "expires_in", "ext_expires_in", "refresh_in":
				continue
			}
			x, _ := json.Marshal(v)
			y, _ := json.Marshal(after[name])
			if !bytes.Equal(x, y) {
				t.Fatalf("%q has changed", name)
			}
		}
	}
}

// FuzzAnswer: whatever a token endpoint says, it is not understood, or it keeps its meaning for who asks later.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"a","expires_in":3600,"token_type":"Bearer"}`,
		`{"access_token":"a","expires_in":"3600","ext_expires_in":"7200","refresh_in":"1800","refresh_token":"r","foci":"1"}`,
		`{"access_token":"a","expires_in":3600,"expires_on":"1900000000","client_info":"eyJ1aWQiOiJ1IiwidXRpZCI6InQifQ",` +
			`"id_token":"x.e30.y"}`,
		`{"access_token":"a","expires_in":3600,"expires_on":"18448644073709"}`,
		`{"access_token":"a","expires_in":3600,"refresh_in":18446744073710}`, `{"access_token":"a","expires_in":null}`, `[]`,
		`null`, ``, `{"access_token":"a","expires_in":1e3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		now := redistime.Time(time.Now().UnixMicro())
		a := &Answer{Status: 200, Body: body, Started: now, Received: now + 1, Header: map[string]string{}}
		a.Judge()
		a.AddRefreshIn(0.5)
		checkAnswer(t, a, now)
		if account := layout.HomeAccount(body); strings.Count(account, ".") == 1 {
			if info := []byte(`{"client_info":` + `"` + ClientInfo(account) + `"` + `}`); layout.HomeAccount(info) != account &&
				!strings.HasSuffix(account, ".") {
				t.Fatal("a client_info of a home account makes another account")
			}
		}
	})
}
