package accessor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// counting is a manager like MSAL's that counts what it is handed.
type counting struct {
	document string
	handed   int
}

func (m *counting) Unmarshal(b []byte) error { m.document = string(b); m.handed++; return nil }
func (m *counting) Marshal() ([]byte, error) { return []byte(m.document), nil }

func (m *counting) holds(key string) bool { return strings.Contains(m.document, "token of "+key+`"`) }

func accessToken(t *testing.T, key, environment, target string, expires time.Duration) msaldoc.Entry {
	t.Helper()
	now := time.Now()
	raw := fmt.Appendf(nil, `{"home_account_id":%q,"environment":%q,"realm":"t","client_id":"c","secret":"token of %s",`+
		`"target":%q,"cached_at":"%d","expires_on":"%d"}`,
		key, environment, key, target, now.Unix(), now.Add(expires).Unix())
	e, err := msaldoc.NewEntry(msaldoc.SectionAccessToken, key+"-"+environment+"-accesstoken-c-t-"+target, raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// setKnown makes an Accessor know a partition, as if Redis had just told.
func setKnown(a *Accessor, key string, entries ...msaldoc.Entry) {
	looked := record.Looked{Version: 1, Entries: map[string]record.Entry{}, At: a.o.Clock.Now(), Now: a.elapsed()}
	for _, e := range entries {
		x := record.New(e, a.o.Clock.Now(), a.o.Clock.Now())
		looked.Entries[x.Field] = x
	}
	a.record(key).Apply(looked)
}

func userKey(n int) string { return fmt.Sprintf("user%d.tenant", n) }

// Whatever was handed to a manager stays in its document however long ago that was: its caller may not have read yet.
// And where all of it is known, nothing is handed over again.
func TestDocumentKeepsWhatWasHandedOver(t *testing.T) {
	ctx := context.Background()
	a := newAccessor(t)
	a.o.LocalTTL = 24 * time.Hour
	const users = 200
	for n := range users {
		setKnown(a, userKey(n), accessToken(t, userKey(n), "login.microsoftonline.com", "s", time.Hour))
	}
	u := &counting{}
	read := func(n int) {
		t.Helper()
		if err := a.Replace(ctx, u, cache.ReplaceHints{PartitionKey: userKey(n)}); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for n := range users {
		read(n)
		start = start.Add(-6 * time.Second) // a goroutine may wait for a processor for as long
		a.o.Clock = redistime.New(start, layout.TombstoneLife)
	}
	missing := 0
	for n := range users {
		if !u.holds(userKey(n)) {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d users are gone from the document", missing, users)
	}
	before := u.handed
	for n := range users {
		read(n)
	}
	if u.handed > before {
		t.Errorf("%d documents were handed over of what was there", u.handed-before)
	}
}

// Beyond the bound of a document what was used last stays, in flight or not, and what knows nothing goes first.
func TestDocumentIsBounded(t *testing.T) {
	ctx := context.Background()
	a := newAccessor(t)
	a.o.LocalTTL = 24 * time.Hour
	u := &counting{}
	large := strings.Repeat("x", 16<<10)
	const more = 2 // each costs a document as large as the bound
	for n := range inFlightAtMost {
		setKnown(a, userKey(n), accessToken(t, userKey(n), "login.microsoftonline.com", large, time.Hour))
		a.markInUse(a.managers.of(u), userKey(n), a.record(userKey(n)))
	}
	last := inFlightAtMost
	for ; last < inFlightAtMost+more; last++ {
		setKnown(a, userKey(last), accessToken(t, userKey(last), "login.microsoftonline.com", large, time.Hour))
		if err := a.Replace(ctx, u, cache.ReplaceHints{PartitionKey: userKey(last)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(u.document, "token of "); n != inFlightAtMost {
		t.Errorf("%d users in the document, want %d", n, inFlightAtMost)
	}
	if !u.holds(userKey(last-1)) || u.holds(userKey(0)) {
		t.Error("not those that were used last")
	}
	for n := range inFlightAtMost + more {
		a.markInUse(a.managers.of(u), fmt.Sprintf("nobody%d.tenant", n), &tokenstore.Record{User: true})
	}
	a.managers.of(u).view.Store(nil)
	if err := a.Replace(ctx, u, cache.ReplaceHints{PartitionKey: userKey(0)}); err != nil {
		t.Fatal(err)
	}
	noted := 0
	for key := range a.managers.of(u).inUse {
		if strings.HasPrefix(key, "nobody") {
			noted++
		}
	}
	if noted >= inFlightAtMost {
		t.Errorf("%d partitions are noted that hold nothing", noted)
	}
}

// A call that waits for its turn to hand over finds its partition in the document even if others' hand-overs have
// dropped it.
func TestUseThatWaitsIsHandedOver(t *testing.T) {
	a := newAccessor(t)
	setKnown(a, userKey(1), accessToken(t, userKey(1), "login.microsoftonline.com", "s", time.Hour))
	a.loaded = func(m *manager, _ string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		clear(m.inUse)
	}
	u := &counting{}
	if err := a.Replace(context.Background(), u, cache.ReplaceHints{PartitionKey: userKey(1)}); err != nil {
		t.Fatal(err)
	}
	if !u.holds(userKey(1)) {
		t.Error("the hand-over lacks its own partition")
	}
}

// Of two tokens of one host that serve the same requests one is handed over. MSAL may take two hosts for one cloud, or
// not (WithInstanceDiscovery(false)): of two, both.
func TestTokensOfTwoCloudsLiveTogether(t *testing.T) {
	for _, test := range []struct {
		name, a, b string
		want       int
	}{
		{"one host", "login.microsoftonline.com", "login.microsoftonline.com", 1},
		{"another name of the public cloud", "login.microsoftonline.com", "login.windows.net", 2},
		{"another name of the government's", "login.microsoftonline.us", "login.usgovcloudapi.net", 2},
		{"another name of China's", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn", 2},
		{"the government's", "login.microsoftonline.com", "login.microsoftonline.us", 2},
		{"China's", "login.microsoftonline.com", "login.chinacloudapi.cn", 2},
		{"a sovereign one", "login.sovcloud-identity.fr", "login.sovcloud-identity.de", 2},
		{"two ADFS farms", "sts.contoso.com", "sts.fabrikam.com", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAccessor(t)
			key := "c_t_AppTokenCache"
			setKnown(a, key, accessToken(t, "", test.a, "s", time.Hour), accessToken(t, "", test.b, "s s2", 2*time.Hour))
			u := &counting{}
			if err := a.Replace(context.Background(), u, cache.ReplaceHints{PartitionKey: key}); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(u.document, "token of "); n != test.want {
				t.Errorf("%d tokens are handed over, want %d", n, test.want)
			}
			handed := u.handed
			for range 10 {
				if err := a.Replace(context.Background(), u, cache.ReplaceHints{PartitionKey: key}); err != nil {
					t.Fatal(err)
				}
			}
			if u.handed != handed {
				t.Errorf("%d documents for ten hits", u.handed-handed)
			}
		})
	}
}
