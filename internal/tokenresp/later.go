package tokenresp

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// aged is an answer's body at an age, in seconds. All who have waited for an answer read the same.
type aged struct {
	age  int64
	body []byte
}

// AddRefreshIn writes refresh_in into an answer whose server sent none, so that a token is refreshed while it still
// serves: a share of its usable life, and at least a second before the end of that.
func (a *Answer) AddRefreshIn(share float64) {
	if !a.Good || a.Due != 0 {
		return
	}
	usable := wholeSeconds(a.Expires.Sub(a.Started) - msaldoc.LastMinutes)
	in := min(int64(share*float64(usable)), usable-1)
	if in < 1 {
		return
	}
	a.Due = a.Started.Add(time.Duration(in) * time.Second)
	a.Body = SetMember(a.Body, "refresh_in", format(in))
}

// Response is the answer for a caller, at a time of Redis: with the life that is left. due: it is being
// refreshed, so MSAL shall ask again shortly; not before the refresh can have ended.
func (a *Answer) Response(req *http.Request, now redistime.Time, due bool) *http.Response {
	body := a.Body
	header := http.Header{}
	for k, v := range a.Header {
		header.Set(k, v)
	}
	if a.Good {
		age := max(0, now.Sub(a.Started))
		if age >= time.Second && !a.Usable(now) {
			age += time.Second - 1 // to its end: a second too early, not too late
		}
		body = a.bodyAt(wholeSeconds(age))
		if due {
			in := min(5+rand.Int64N(26), max(1, wholeSeconds(a.Expires.Sub(now)-msaldoc.LastMinutes)))
			body = SetMember(body, "refresh_in", format(in))
		}
	}
	if !a.Good && a.Passing() && a.Until > 0 {
		// Not longer than what was asked for, by a clock that is a little behind the one that began to count.
		left := max(1, wholeSeconds(min(a.Until.Sub(now), a.Until.Sub(a.Received))+time.Second-1))
		header.Set("Retry-After", format(left))
	}
	return &http.Response{
		Status:        strconv.Itoa(a.Status) + " " + http.StatusText(a.Status),
		StatusCode:    a.Status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// bodyAt is a good answer's body with its times reduced by an age in seconds.
func (a *Answer) bodyAt(age int64) []byte {
	if held := a.latest.Load(); held != nil && held.age == age {
		return held.body
	}
	body := a.Body
	for _, name := range []string{"expires_in", "ext_expires_in", "refresh_in"} {
		if in := number(gjson.GetBytes(body, name)); in > 0 {
			body = ReplaceMember(body, name, format(max(in-age, 1)))
		}
	}
	a.latest.Store(&aged{age, body})
	return body
}

// SetMember sets a member of a JSON object to a number, as a string where it was one; every other byte stays.
func SetMember(object []byte, name, number string) []byte {
	if gjson.GetBytes(object, name).Exists() {
		return ReplaceMember(object, name, number)
	}
	end := bytes.LastIndexByte(object, '}')
	if end < 0 {
		return object
	}
	comma := ","
	if len(gjson.ParseBytes(object).Map()) == 0 {
		comma = ""
	}
	out := append([]byte(nil), object[:end]...)
	out = append(out, comma+`"`+name+`":`+number...)
	return append(out, object[end:]...)
}

// ReplaceMember is SetMember of a member that is there; an object without stays as it is.
func ReplaceMember(object []byte, name, number string) []byte {
	v := gjson.GetBytes(object, name)
	if !v.Exists() || v.Index <= 0 || v.Index+len(v.Raw) > len(object) {
		return object
	}
	if v.Type == gjson.String {
		number = `"` + number + `"`
	}
	out := append([]byte(nil), object[:v.Index]...)
	out = append(out, number...)
	return append(out, object[v.Index+len(v.Raw):]...)
}

// wholeSeconds is a duration in whole seconds, as times in a token endpoint's answer are.
func wholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

func format(n int64) string { return strconv.FormatInt(n, 10) }
