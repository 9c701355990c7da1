package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/msal-redis/msal-redis-go/entratest"
)

const (
	clientID    = "fa017000-0000-4000-8000-000000000001"
	otherClient = "fa017000-0000-4000-8000-000000000002"
	redirectURI = "http://localhost:5000/signin"

	graph       = "https://graph.microsoft.com"
	scopeApp    = graph + "/.default"
	scopeRead   = graph + "/User.Read" // of sign-ins
	scopeMail   = graph + "/Mail.Read"
	scopeOBO    = graph + "/Files.Read"  // of on-behalf-of calls, and of nothing else
	scopeRoll   = graph + "/Roll.Read"   // of the roll call
	scopeVerify = graph + "/Verify.Read" // of the last process
)

// refusedMinutes are the last minutes of a token's life, in which MSAL refuses it.
const refusedMinutes = 5 * time.Minute

// world is Entra ID with everyone in it.
type world struct {
	entra   *entratest.Server
	secret  string
	other   string // secret of the other app
	began   time.Time
	tenants []string
	people  []person
}

func newWorld(began time.Time, tenants, users, behalf int, t terms) (*world, error) {
	entra, err := entratest.NewServer(&entratest.Config{RotateRefreshTokens: t.Rotate})
	if err != nil {
		return nil, err
	}
	w := &world{entra: entra, secret: "faultrun-" + uuid.NewString(), other: "faultrun-" + uuid.NewString(), began: began}
	entra.AddApp(entratest.App{ClientID: clientID, Secret: w.secret})
	entra.AddApp(entratest.App{ClientID: otherClient, Secret: w.other})
	for i := range tenants {
		w.tenants = append(w.tenants, tenantID(fmt.Sprintf("tenant-%d", i)))
	}
	for i := range users + behalf {
		u := entratest.User{
			ObjectID: uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, "user ", i)).String(),
			TenantID: w.tenants[i%tenants], Username: fmt.Sprintf("user%d@contoso.com", i),
		}
		entra.AddUser(u)
		p := person{Account: u.HomeAccountID(), Name: u.Username, Tenant: u.TenantID, Guest: w.tenants[(i+1)%tenants]}
		if i >= users {
			if p.Assertion, err = entra.UserToken(clientID, u.Username, ""); err != nil {
				entra.Close()
				return nil, err
			}
		}
		w.people = append(w.people, p)
	}
	entra.SetBehavior(func(b *entratest.Behavior) {
		b.AccessTokenLifetime = refusedMinutes + t.Usable
		b.Latency = 50 * time.Millisecond // in which others come, and processes die
	})
	return w, nil
}

func tenantID(name string) string { return uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name)).String() }

// requests are the token requests so far.
func (w *world) requests() []request {
	var out []request
	for _, r := range w.entra.Requests() {
		q := request{ID: r.ID, Worker: -1, Grant: r.Grant, Arrived: r.Arrived.Sub(w.began), Status: r.Status, Error: r.Error,
			For: identity{Tenant: r.Tenant, User: r.User, Scope: oneScope(r.RawScope)}, Session: r.Session}
		q.For.CAE, q.Claims = readClaims(r.Claims)
		if r.ClientID != clientID {
			q.For.Client = r.ClientID
		}
		if !r.Answered.IsZero() {
			q.Answered = r.Answered.Sub(w.began)
		}
		_, _ = fmt.Sscan(r.Form.Get(markField), &q.Worker)
		out = append(out, q)
	}
	return out
}

// readClaims tells what a claims parameter asks for: that the token be for a client that declares CP1, and whether
// there is a challenge besides.
func readClaims(text string) (cae, challenge bool) {
	var claims map[string]map[string]any
	if json.Unmarshal([]byte(text), &claims) != nil {
		return false, text != ""
	}
	_, cae = claims["access_token"]["xms_cc"]
	return cae, len(claims) > 1 || cae && len(claims["access_token"]) > 1 || !cae && len(claims) > 0
}

// subjectIn is a user's object id in a tenant. A guest has another there than at home (entratest).
func subjectIn(tenant, user string) string {
	oid, home, _ := strings.Cut(user, ".")
	if user == "" || tenant == home {
		return oid
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("guest "+oid+" "+tenant)).String()
}

// oneScope is a scope parameter without what MSAL adds to every one.
func oneScope(raw string) string {
	for _, s := range strings.Fields(raw) {
		switch strings.ToLower(s) {
		case "openid", "profile", "offline_access":
		default:
			return s
		}
	}
	return ""
}
