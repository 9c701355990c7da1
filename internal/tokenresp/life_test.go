package tokenresp

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

var asked = httptest.NewRequest(http.MethodPost, "https://login.example.com/t/oauth2/v2.0/token", nil)

// said is an answer with a body, and a header as name and value in turn.
func said(status int, body string, header ...string) *Answer {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return Read(asked, &http.Response{StatusCode: status, Header: h, Request: asked}, []byte(body))
}

// A time that no server means makes no token that lives, and none that is Due: in microseconds it would come round.
func TestAbsurdTimesOfAnAnswer(t *testing.T) {
	const round = 1 << 64 / 1_000_000 // seconds
	now := redistime.Time(time.Now().Unix())
	for _, test := range []struct {
		members string
		good    bool
	}{
		{`"expires_in":3600,"refresh_in":1800`, true},
		{fmt.Sprintf(`"expires_in":3600,"expires_on":%d`, now+3600), true},
		{fmt.Sprintf(`"expires_in":%d`, round+3600), false},
		{fmt.Sprintf(`"expires_in":%d`, 3600-round), false},
		{fmt.Sprintf(`"expires_in":3600,"expires_on":"%d"`, round+now+3600), false},
		{fmt.Sprintf(`"expires_in":3600,"refresh_in":%d`, round+1), true},
	} {
		a := &Answer{Status: 200, Body: []byte(`{"access_token":"a",` + test.members + `}`), Started: now * second,
			Received: now*second + 1}
		a.Judge()
		if a.Good != test.good {
			t.Errorf("%s: good %v", test.members, a.Good)
		}
		if a.Good && a.Due != 0 && a.Due != a.Started+1800*second {
			t.Errorf("%s: due after %d s", test.members, (a.Due-a.Started)/second)
		}
	}
}

// The end that is told is never later than the token's own, and a token at its end is over, at whatever moment.
func TestToldEndIsNotLaterThanTheTokens(t *testing.T) {
	for _, life := range []redistime.Time{2, 6, 60, 299, 3600} {
		a := said(200, `{"access_token":"a","expires_in":`+format(int64(life))+`,"ext_expires_in":`+format(int64(life))+`}`)
		a.Started, a.Received = 1_000*second, 1_000*second+1
		a.Judge()
		for _, us := range []redistime.Time{1, second - 1, second, second + 1, 3 * second / 2, life*second - 3*second/2,
			life*second - second - 1, life*second - second/2, life * second, life*second + 30*second} {
			now := a.Started + us
			if us < 0 || a.Over(now) {
				continue
			}
			if now >= a.Expires {
				t.Errorf("a life of %d s, %d us after: not over", life, us)
				continue
			}
			body, err := io.ReadAll(a.Response(asked, now, true).Body)
			if err != nil {
				t.Fatal(err)
			}
			told := &Answer{Body: body}
			// Within a second of its coming an answer passes as it is.
			if end := now + redistime.OfSeconds(told.Number("expires_in")); us >= second && life < 300 && end > a.Expires {
				t.Errorf("a life of %d s, after %d us: its end is told %d us too late", life, us, end-a.Expires)
			}
		}
	}
}

// A token is due from its time on, and one without such a time never.
func TestIsDue(t *testing.T) {
	for _, tt := range []struct {
		due, now redistime.Time
		want     bool
	}{{0, 0, false}, {0, 10, false}, {10, 9, false}, {10, 10, true}, {10, 11, true}} {
		if got := (&Answer{Due: tt.due}).IsDue(tt.now); got != tt.want {
			t.Errorf("due at %d, at %d: %v, want %v", tt.due, tt.now, got, tt.want)
		}
	}
}
