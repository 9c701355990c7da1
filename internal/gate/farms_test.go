package gate

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// One client id at two ADFS farms, or in two clouds, where a user has the same subject: what one farm has issued is
// nothing to the other.
func TestTokensOfAnotherFarmAreNotSent(t *testing.T) {
	const one, two = "fs.one.example", "fs.two.example"
	s := &record.Snapshot{Entries: map[string]record.Entry{}}
	for i, host := range []string{one, two} {
		for _, e := range []struct{ section, raw string }{
			{msaldoc.SectionRefreshToken, `"secret":"refresh token of ` + host + `"`},
			{msaldoc.SectionIDToken, `"secret":"id token of ` + host + `","realm":"adfs"`},
		} {
			raw := []byte(`{"home_account_id":"u","client_id":"c","environment":"` + host + `",` + e.raw + `}`)
			entry, err := msaldoc.NewEntry(e.section, "k-"+host, raw)
			if err != nil {
				t.Fatal(err)
			}
			x := record.New(entry, redistime.Time(i+1), 1)
			s.Entries[x.Field] = x
		}
	}
	for _, host := range []string{one, two} {
		from := tokenreq.Lineage{Account: "u", Partition: layout.PartitionID("u"), Environment: host}
		r := &tokenRequest{Request: answers.Request{Request: tokenreq.Request{Client: "c", Lineage: from}}}
		if rt, ok := refreshToken(s, r); !ok || rt.Environment != host {
			t.Errorf("to %s goes the refresh token of %q", host, rt.Environment)
		}
		raw := []byte(`{"home_account_id":"u","client_id":"c","environment":"` + host +
			`","realm":"adfs","secret":"a","target":"s","expires_on":"4000000000"}`)
		at, err := msaldoc.NewEntry(msaldoc.SectionAccessToken, "a", raw)
		if err != nil {
			t.Fatal(err)
		}
		if a := answerFrom(s, record.New(at, 1, 1), 1); a.Member("id_token") != "id token of "+host {
			t.Errorf("with a token of %s comes %q", host, a.Member("id_token"))
		}
	}
}

// What one base transport has met on its way to Entra ID is nothing to another of the same Cache.
func TestOwnTroubleIsOfOneBaseTransport(t *testing.T) {
	g := newGate(t)
	var sent atomic.Int64
	dead := g.Transport(stage.RoundTrip(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("the proxy is down")
	}))
	good := stage.Says(200, `{"access_token":"a","expires_in":3600,"token_type":"Bearer"}`)
	well := g.Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
		sent.Add(1)
		return good(req)
	}))
	ctx := context.Background()
	if _, _, err := stage.Ask(ctx, dead, stage.AppForm("s")); err == nil {
		t.Fatal("a dead proxy brought a token")
	}
	for range 3 {
		if status, _, err := stage.Ask(ctx, well, stage.AppForm("s")); err != nil || status != http.StatusOK {
			t.Errorf("by another base transport: %d %v", status, err)
		}
	}
	if sent.Load() == 0 {
		t.Error("nothing was sent")
	}
}
