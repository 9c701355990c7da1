package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// What a look makes of a token by its age and life, for each kind of request; for who was challenged, and for a special
// request of a user, whose answer no record has.
func TestWhatALookMakesOfAToken(t *testing.T) {
	const none, answer, due, old = "nothing", "an answer", "one that is due", "an old token"
	tokens := []struct{ age, life time.Duration }{ // due after half of its life
		{0, time.Hour}, // it came after its caller
		{time.Second, time.Hour},
		{30*time.Minute - time.Second, time.Hour},
		{30 * time.Minute, time.Hour},
		{54 * time.Minute, time.Hour},
		{56 * time.Minute, time.Hour}, // MSAL refuses its last five minutes
		{time.Hour, time.Hour},
		{0, 4 * time.Minute},
		{time.Second, 4 * time.Minute},
	}
	app := []string{answer, answer, answer, due, due, old, none, answer, old}
	user := []string{answer, answer, answer, due, due, old, none, old, old}
	onBehalfOf := []string{answer, answer, answer, due, due, none, none, answer, none}
	oneMinute := []string{answer, answer, none, none, none, none, none, answer, old} // its handover
	challenged := []string{answer, none, none, none, none, none, none, answer, none}
	for _, tt := range []struct {
		kind                tokenreq.Kind
		challenged, special bool
		want                []string
	}{
		{kind: tokenreq.App, want: app},
		{kind: tokenreq.RotatedRefresh, want: app},
		{kind: tokenreq.OnBehalfOf, want: onBehalfOf},
		{kind: tokenreq.OnBehalfOfRefresh, want: onBehalfOf},
		{kind: tokenreq.UserFIC, want: oneMinute},
		{kind: tokenreq.UnknownRefresh, want: oneMinute},
		{kind: tokenreq.UserRefresh, want: user},
		{kind: tokenreq.UserRefresh, special: true, want: user},
		{kind: tokenreq.App, challenged: true, want: challenged},
		{kind: tokenreq.OnBehalfOf, challenged: true, want: challenged},
		{kind: tokenreq.UserRefresh, challenged: true, want: challenged},
		{kind: tokenreq.UserRefresh, challenged: true, special: true, want: challenged},
	} {
		for n, token := range tokens {
			t.Run(fmt.Sprintf("%v, challenged %v, special %v: %v of %v",
				tt.kind, tt.challenged, tt.special, token.age, token.life), func(t *testing.T) {
				g := newGate(t)
				r := &tokenRequest{Request: answers.Request{
					Request: tokenreq.Request{
						Kind: tt.kind, Grant: tt.kind.FirstGrant(), ID: "id", Base: "base", Client: "c", Special: tt.special,
						Lineage: tokenreq.Lineage{Account: "uid.utid", Partition: layout.PartitionID("uid.utid"), Environment: "e"},
					},
					Partitions: []id{layout.PartitionID("uid.utid")}, Tenants: []string{"t"},
				}}
				r.Asked = "asked"
				if tt.challenged {
					r.Challenge = "claims"
				}
				source := g.sourceOf(r)
				_, _ = source.look(t.Context()) // its caller has come
				at := g.o.Clock.Now().Add(-token.age)
				body := fmt.Sprintf(`{"access_token":"a","refresh_token":"r","scope":"s","client_info":%q,"expires_in":%d,`+
					`"refresh_in":%d}`, tokenresp.ClientInfo("uid.utid"), token.life/time.Second, token.life/time.Second/2)
				a := &answers.Answer{Answer: &tokenresp.Answer{
					Status: 200, Started: at, Received: at, Stamp: at, Body: []byte(body),
				}}
				a.Judge()
				g.sourceOf(r).keep(t.Context(), a)
				f, _ := source.look(t.Context())
				got := none
				switch {
				case f.answer != nil && f.due:
					got = due
				case f.answer != nil:
					got = answer
				case f.old != nil:
					got = old
				}
				if want := tt.want[n]; got != want {
					t.Errorf("%s, want %s", got, want)
				}
			})
		}
	}
}
