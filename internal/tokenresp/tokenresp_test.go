package tokenresp

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// second is one of Redis's time.
const second = redistime.Time(time.Second / time.Microsecond)

// good is an answer of an hour's life that began at second 1000 of Redis's time.
func good(t *testing.T, body string) *Answer {
	t.Helper()
	a := said(200, body)
	a.Started, a.Received = 1_000*second, 1_001*second
	if a.Judge(); !a.Good {
		t.Fatalf("%s is not good", body)
	}
	return a
}

// Who asks later gets the same answer with the life that is left, and every other byte as it was.
func TestTheSameAnswerLater(t *testing.T) {
	const body = `{"token_type":"Bearer", "expires_in":3600,"ext_expires_in":"7200","refresh_in":1800 ,` +
		`"access_token":"a","odd":[1.0]}`
	for _, test := range []struct {
		after redistime.Time // seconds
		want  string
	}{
		{0, body},
		{600, `{"token_type":"Bearer", "expires_in":3000,"ext_expires_in":"6600","refresh_in":1200 ,` +
			`"access_token":"a","odd":[1.0]}`},
		{1800, `{"token_type":"Bearer", "expires_in":1800,"ext_expires_in":"5400","refresh_in":1 ,` +
			`"access_token":"a","odd":[1.0]}`},
	} {
		a := good(t, body)
		for range 2 { // and as it is remembered
			got, err := io.ReadAll(a.Response(asked, 1_000*second+test.after*second, false).Body)
			if err != nil || string(got) != test.want {
				t.Errorf("after %d s: %s %v", test.after, got, err)
			}
		}
		if string(a.Body) != body {
			t.Error("the answer itself has changed")
		}
	}
	// While a due one is being refreshed, its receiver asks again shortly.
	a := good(t, body)
	for range 100 {
		told, _ := io.ReadAll(a.Response(asked, 3_000*second, true).Body)
		if in := (&Answer{Body: told}).Number("refresh_in"); in < 5 || in > 30 {
			t.Fatalf("refresh_in %d", in)
		}
	}
}

// When a token serves, and when no more.
func TestLife(t *testing.T) {
	a := good(t, `{"access_token":"a","expires_in":3600}`)
	for _, test := range []struct {
		at                  redistime.Time // after its beginning
		usable, alive, over bool
	}{
		{0, true, true, false},
		{3300*second - 1, true, true, false},
		{3300 * second, false, true, false},
		{3599*second - 1, false, true, false},
		{3599 * second, false, false, true},
		{3600 * second, false, false, true},
	} {
		us := a.Started + test.at
		if a.Usable(us) != test.usable || a.Alive(us) != test.alive || a.Over(us) != test.over {
			t.Errorf("after %d us: usable %v, alive %v, over %v", test.at, a.Usable(us), a.Alive(us), a.Over(us))
		}
	}
}

// When a token is due, where its server does not say.
func TestRefreshInIsAdded(t *testing.T) {
	for _, test := range []struct {
		body  string
		share float64
		due   int64 // seconds; 0: never
	}{
		{`{"access_token":"a","expires_in":3600}`, 0.5, 1650},
		{`{"access_token":"a","expires_in":3600}`, 1, 3299},
		{`{"access_token":"a","expires_in":3600,"refresh_in":60}`, 0.5, 60},
		{`{"access_token":"a","expires_in":3600,"refresh_in":null}`, 0.5, 1650},
		{`{"access_token":"a","expires_in":301}`, 0.5, 0},
		{`{"access_token":"a","expires_in":60}`, 0.5, 0},
		{`{"error":"x"}`, 0.5, 0},
	} {
		a := said(200, test.body)
		a.Started, a.Received = 1_000*second, 1_000*second+1
		a.Judge()
		a.AddRefreshIn(test.share)
		if due := max(0, int64((a.Due-a.Started)/second)); due != test.due || due > 0 && a.Number("refresh_in") != due {
			t.Errorf("%s: due after %d s, want %d: %s", test.body, due, test.due, a.Body)
		}
	}
}

// What is refused: the client's credential, which says nothing of another's, or what it asks for.
func TestWhatIsRefused(t *testing.T) {
	for body, credential := range map[string]bool{
		`{"error":"invalid_client"}`:                                   true,
		`{"error":"Unauthorized_Client"}`:                              true,
		`{"error":"invalid_client","error_codes":[7000215]}`:           true,
		`{"error":"invalid_request","error_codes":[7000218]}`:          true,
		`{"error":"invalid_request","error_codes":[7000]}`:             false,
		`{"error":"invalid_request","error_codes":[90014]}`:            false,
		`{"error":"invalid_grant","error_codes":[700082]}`:             false,
		`{"error":"invalid_scope"}`:                                    false,
		`{"access_token":"a","expires_in":60,"error":"no error here"}`: false,
		`<html>`: false,
	} {
		if a := said(400, body); a.CredentialRefused() != credential {
			t.Errorf("%s: the credential is refused: %v", body, !credential)
		}
	}
	if said(200, `{"error":"invalid_client"}`).CredentialRefused() {
		t.Error("a 200 refuses a credential")
	}
}

// The stored form does not change.
func TestStoredForm(t *testing.T) {
	a := said(400, `{"error":"invalid_grant"}`, "Retry-After", "7", "X-Other", "x")
	a.Started, a.Received, a.Until, a.Failures, a.Of = 1, 2, 3, 4, "of"
	const want = `{"status":400,"header":{"Content-Type":"application/json","Retry-After":"7"},"started":1,"received":2,` +
		`"until":3,"failures":4,"of":"of",` +
		`"grant":"g","client":"c","tenant":"t","scopes":"s"}` + "\n" + `{"error":"invalid_grant"}`
	stored := a.Encode(layout.AnswerHead{Grant: "g", Client: "c", Tenant: "t", Scopes: "s"})
	if string(stored) != want {
		t.Errorf("%s", stored)
	}
	b, err := Decode(stored, 9)
	if err != nil || b.Status != 400 || b.Until != 3 || b.Failures != 4 || b.Of != "of" || b.Stamp != 9 ||
		!bytes.Equal(b.Body, a.Body) {
		t.Errorf("%+v %v", b, err)
	}
}

// An answer that names no user gets the account's client_info; one that does keeps its own.
func TestNameUser(t *testing.T) {
	for _, test := range []struct{ body, account, want string }{
		{`{"access_token":"a"}`, "u.t", "u.t"},
		{`{"access_token":"a","client_info":"` + ClientInfo("v.s") + `"}`, "u.t", "v.s"},
		{`{"access_token":"a"}`, "a-subject", ""},
		{`{"access_token":"a"}`, "a.b.c", ""},
	} {
		a := &Answer{Body: []byte(test.body)}
		a.NameUser(test.account)
		if got := layout.HomeAccount(a.Body); got != test.want || a.Member("access_token") != "a" {
			t.Errorf("%s of %s: %s", test.body, test.account, a.Body)
		}
	}
}

// A number of a JSON object changes in its place.
func TestMembersAreSet(t *testing.T) {
	for _, test := range []struct{ object, set, replaced string }{
		{`{}`, `{"n":5}`, `{}`},
		{`{"a":1}`, `{"a":1,"n":5}`, `{"a":1}`},
		{`{"n": 1 }`, `{"n": 5 }`, `{"n": 5 }`},
		{`{"n":"1","a":2}`, `{"n":"5","a":2}`, `{"n":"5","a":2}`},
		{`{"n":null}`, `{"n":5}`, `{"n":5}`},
		{``, ``, ``},
	} {
		object := []byte(test.object)
		if set, replaced := SetMember(object, "n", "5"), ReplaceMember(object, "n", "5"); string(set) != test.set ||
			string(replaced) != test.replaced {
			t.Errorf("%s: set %s, replaced %s", test.object, set, replaced)
		}
		if string(object) != test.object {
			t.Errorf("%s was changed", test.object)
		}
	}
}
