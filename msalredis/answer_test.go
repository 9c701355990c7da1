package msalredis

import (
	"fmt"
	"testing"
	"time"
)

// A time that no server means makes no token that lives, and none that is due: in microseconds it would come round.
func TestAbsurdTimesOfAnAnswer(t *testing.T) {
	const round = 1 << 64 / 1_000_000 // seconds
	now := time.Now().Unix()
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
		a := &answer{status: 200, body: []byte(`{"access_token":"a",` + test.members + `}`), started: now * second, received: now*second + 1}
		a.judge()
		if a.good != test.good {
			t.Errorf("%s: good %v", test.members, a.good)
		}
		if a.good && a.due != 0 && a.due != a.started+1800*second {
			t.Errorf("%s: due after %d s", test.members, (a.due-a.started)/second)
		}
	}
}
