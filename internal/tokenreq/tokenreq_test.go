package tokenreq

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// What a request is, and what is done with its answer.
func TestKinds(t *testing.T) {
	form := func(text string) url.Values {
		values, err := url.ParseQuery("client_id=c&scope=s&" + text)
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	const assertion = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a"
	user := Lineage{Kind: UserRefresh, Account: "u.t", Partition: layout.PartitionID("u.t")}
	behalf := Lineage{Kind: OnBehalfOfRefresh, Assertion: AssertionKey("a")}
	rotated := Lineage{Kind: RotatedRefresh, First: HashSecret("r").String()}
	for _, test := range []struct {
		name, form string
		header     string
		from       Lineage
		want       Kind
	}{
		{"an app's", "grant_type=client_credentials&client_secret=s", "", Lineage{}, App},
		{"an app's, whatever refresh token is known", "grant_type=client_credentials&client_secret=s", "", user, App},
		{"an app's without a credential", "grant_type=client_credentials", "", Lineage{}, Untouched},
		{"an app's with one in a header", "grant_type=client_credentials&client_secret=s", "Authorization",
			Lineage{}, Untouched},
		{"on behalf of a user", assertion + "&client_secret=s&requested_token_use=on_behalf_of", "", Lineage{}, OnBehalfOf},
		{"on behalf of a user with a proof", assertion + "&client_secret=s&requested_token_use=on_behalf_of", "DPoP",
			Lineage{}, Untouched},
		{"another use of an assertion", assertion + "&client_secret=s", "", Lineage{}, Untouched},
		{"a refresh", "grant_type=refresh_token&refresh_token=r", "", Lineage{}, UnknownRefresh},
		{"without a token", "grant_type=refresh_token", "", Lineage{}, UnknownRefresh},
		{"a user's", "grant_type=refresh_token&refresh_token=r", "", user, UserRefresh},
		{"a user's with a key", "grant_type=refresh_token&refresh_token=r&req_cnf=k", "", user, Untouched},
		{"on behalf of", "grant_type=refresh_token&refresh_token=r", "", behalf, OnBehalfOfRefresh},
		{"the next of an unknown", "grant_type=refresh_token&refresh_token=r", "", rotated, RotatedRefresh},
		{"by a federated credential", "grant_type=user_fic&client_secret=s&user_id=u", "", Lineage{}, UserFIC},
		{"by one, without a credential of the client's", "grant_type=user_fic&user_id=u", "", Lineage{}, SignIn},
		{"a code", "grant_type=authorization_code&code=x&client_secret=s", "", Lineage{}, SignIn},
		{"a device's code", "grant_type=device_code&device_code=x", "", Lineage{}, SignIn},
		{"a password", "grant_type=password&username=u&password=p", "", Lineage{}, SignIn},
		{"a code with a key", "grant_type=authorization_code&code=x&req_cnf=k", "", Lineage{}, Untouched},
	} {
		req, err := http.NewRequest(http.MethodPost, identityEndpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.header != "" {
			req.Header.Set(test.header, "x")
		}
		r := Understand(req, form(test.form), test.from, identityNow)
		if r.Kind != test.want {
			t.Errorf("%s: %v, want %v", test.name, r.Kind, test.want)
		}
		shared := test.want != Untouched && test.want != SignIn
		if (r.ID != "") != shared || (r.Kind.Policy().Shares != Nowhere) != shared {
			t.Errorf("%s: identity %q, policy %+v", test.name, r.ID, r.Kind.Policy())
		}
	}

	for kind, want := range map[Kind]struct {
		shares      Sharing
		handover    time.Duration
		old, newest bool
	}{
		Untouched:         {Nowhere, 0, false, false},
		SignIn:            {Nowhere, 0, false, false},
		App:               {ByIdentity, 0, true, false},
		OnBehalfOf:        {ByIdentity, 0, false, false},
		OnBehalfOfRefresh: {ByIdentity, 0, false, true},
		UserRefresh:       {InRecord, 0, true, true},
		UserFIC:           {ByIdentity, time.Minute, true, false},
		UnknownRefresh:    {ByIdentity, time.Minute, true, false},
		RotatedRefresh:    {ByIdentity, 0, true, true},
	} {
		p := kind.Policy()
		if p.Shares != want.shares || p.Handover != want.handover || p.OldServes != want.old ||
			p.SendsNewest != want.newest || p.LandsFirst != (kind == App) {
			t.Errorf("%v: %+v", kind, p)
		}
	}
	if n := len(kinds); n != int(RotatedRefresh)+1 {
		t.Errorf("%d kinds in the table", n)
	}
}

// The next refresh token is of the same line, however many there were.
func TestLineOfRefreshTokens(t *testing.T) {
	owners := []layout.ID{"one", "two"}
	ask := func(secret string, from Lineage) *Request {
		req, _ := http.NewRequest(http.MethodPost, identityEndpoint, nil)
		r := Understand(req, url.Values{"grant_type": {GrantRefreshToken}, "refresh_token": {secret}, "client_id": {"c"}},
			from, identityNow)
		return &r
	}
	first := ask("r1", Lineage{})
	second := ask("r2", first.Next(nil))
	third := ask("r3", second.Next(nil))
	if second.Kind != RotatedRefresh || third.Kind != RotatedRefresh || second.ID != first.ID || third.ID != first.ID {
		t.Errorf("%v %v %v", first, second, third)
	}
	behalf := ask("r1", Lineage{Kind: OnBehalfOfRefresh, Assertion: "a"})
	next := behalf.Next(owners)
	if again := ask("r2", next); again.Kind != OnBehalfOfRefresh || again.Assertion != "a" || again.ID != behalf.ID {
		t.Errorf("%v, then %v", behalf, again)
	}
	if got := next.OwnersOf(); len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("owners %v", got)
	}
}

// A client_info that another asks for comes with every answer that names a user; what was posted is not changed.
func TestClientInfoIsAskedFor(t *testing.T) {
	for kind, request := range identityRequests() {
		req, _ := http.NewRequest(http.MethodPost, request.address, nil)
		r := Understand(req, request.form, Lineage{}, identityNow)
		if request.form.Has("client_info") || r.Form.Has("client_info") == (r.Kind == App) {
			t.Errorf("%s: %v", kind, r.Kind)
		}
	}
}
