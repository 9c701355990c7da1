package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func open(t *testing.T) *standin.World {
	t.Helper()
	return openOn(t, redistest.Start(t).URL())
}

func openOn(t *testing.T, url string) *standin.World {
	t.Helper()
	e := example
	e.RedisURL = url
	return standin.ForTest(t, e)
}

// newCaller is a caller of two instances, whose requests go to them in turn.
func newCaller(t *testing.T, w *standin.World) *caller {
	t.Helper()
	var all []*url.URL
	for _, name := range []string{"1", "2"} {
		at, stop, err := instance(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		all = append(all, at)
	}
	front := httptest.NewServer(balance(all))
	t.Cleanup(front.Close)
	return &caller{http: front.Client(), url: front.URL, world: w}
}

func (c *caller) mustSignIn(t *testing.T, username string) string {
	t.Helper()
	token, err := c.signIn(username)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (c *caller) mustMe(t *testing.T, token string) answer {
	t.Helper()
	a, err := c.me(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The tests run side by side.
func init() { *address = "127.0.0.1:0" }

// The whole example: four hundred calls of twenty users at two instances are twenty on-behalf-of requests; and what
// Graph and Entra ID want of a user reaches the user's client as a claims challenge.
func TestOneOnBehalfOfRequestForEachUserToken(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		w := openOn(t, url)
		var out bytes.Buffer
		if err := example.Run(t.Context(), &out, w); err != nil {
			t.Fatal(err, out.String())
		}
		for _, want := range []string{
			"instances: 2, at http://127.0.0.1:",
			"users: 20, calls: 400, on-behalf-of requests: 20\n",
			`Grace calls: 200 {"displayName":"grace","userPrincipalName":"grace@contoso.com"}`,
			"and again, after Graph has revoked the API's token for her: 401 sign in again with the claims of this challenge\n",
			`with the claims {"access_token":{"acrs":{"essential":true,"value":"c1"}}}` + "\n",
			`and after she has signed in anew: 200 {"displayName":"grace"`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in the output:\n%s", want, out.String())
			}
		}
	})
}

// Both instances serve; the second asks Entra ID nothing for a token that the first has had.
func TestInstancesShare(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := newCaller(t, w)
	token := c.mustSignIn(t, grace)
	seen := map[string]bool{}
	for range 4 {
		a := c.mustMe(t, token)
		if a.status != http.StatusOK || !strings.Contains(a.body, grace) {
			t.Fatalf("%+v", a)
		}
		seen[a.instance] = true
	}
	if len(seen) != 2 || w.Entra.Count() != 1 {
		t.Errorf("instances %v, token requests %d", seen, w.Entra.Count())
	}
}

// Only a token of this tenant's Entra ID, for this API, alive, of a user, and for the API's scope gets past the door,
// and no other costs a token request.
func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := newCaller(t, w)
	clientID := w.Getenv("AZURE_CLIENT_ID")
	userToken := func(username, audience string) string {
		token, err := w.Entra.UserToken(clientID, username, audience)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := userToken(grace, "")

	w.Entra.AddUser(entratest.User{Username: "eve@fabrikam.com", TenantID: "f4b00000-0000-4000-8000-000000000001"})
	foreign := userToken("eve@fabrikam.com", "")

	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = -time.Minute })
	expired := userToken(grace, "")
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Hour })

	// The same claims under the same key id, by a key of one's own.
	parsed, _, err := jwt.NewParser().ParseUnverified(good, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := parsed.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}

	cred, err := confidential.NewCredFromSecret(w.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		t.Fatal(err)
	}
	app, err := confidential.New(w.Entra.Authority(w.Getenv("AZURE_TENANT_ID")), clientID, cred,
		confidential.WithHTTPClient(w.Entra.HTTPClient()))
	if err != nil {
		t.Fatal(err)
	}
	own, err := app.AcquireTokenByCredential(t.Context(), []string{clientID + "/.default"})
	if err != nil {
		t.Fatal(err)
	}
	before := w.Entra.Count()

	head, body, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(body, ".")
	for _, k := range []struct {
		name, token string
		status      int
		challenge   string
	}{
		{"none", "", 401, "Bearer"},
		{"no JWT", "nonsense", 401, `Bearer error="invalid_token"`},
		{"for another API", userToken(grace, graph), 401, `Bearer error="invalid_token"`},
		{"of another tenant", foreign, 401, `Bearer error="invalid_token"`},
		{"expired", expired, 401, `Bearer error="invalid_token"`},
		{"signed by somebody else", forged, 401, `Bearer error="invalid_token"`},
		{"signed by nobody", "eyJhbGciOiJub25lIn0." + payload + ".", 401, `Bearer error="invalid_token"`},
		{"with another's signature", head + "." + strings.Split(userToken("user1@contoso.com", ""), ".")[1] + "." + signature,
			401, `Bearer error="invalid_token"`},
		{"an app's own", own.AccessToken, 403, `Bearer error="insufficient_scope", scope="access_as_user"`},
		{"for another scope", userToken(grace, "api://"+clientID+"/read"), 403,
			`Bearer error="insufficient_scope", scope="access_as_user"`},
	} {
		if a := c.mustMe(t, k.token); a.status != k.status || a.challenge != k.challenge {
			t.Errorf("%s: %d, %q", k.name, a.status, a.challenge)
		}
	}
	if n := w.Entra.Count(); n != before {
		t.Errorf("they cost %d token requests", n-before)
	}
	if a := c.mustMe(t, good); a.status != http.StatusOK {
		t.Errorf("a good one: %+v", a)
	}
}

// Anybody can make up tokens under key ids that nobody has: they cost Entra ID a fetch of the signing keys for each
// instance, not for each token. A key that Entra ID has signed with since is fetched when that fetch is a minute old.
func TestForgedTokensDoNotFetchTheKeys(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := newCaller(t, w)
	good := c.mustSignIn(t, grace)
	parsed, _, err := jwt.NewParser().ParseUnverified(good, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		parsed.Header["kid"] = "made up " + strconv.Itoa(i)
		forged, err := parsed.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		if a := c.mustMe(t, forged); a.status != http.StatusUnauthorized {
			t.Errorf("a forged token: %d", a.status)
		}
	}
	if n := w.Entra.OtherRequests()["jwks"]; n != 2 {
		t.Errorf("%d fetches of the keys by 2 instances", n)
	}
	if a := c.mustMe(t, good); a.status != http.StatusOK {
		t.Errorf("a good token: %+v", a)
	}
}

func TestKeysAreFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, status := 0, http.StatusOK
		s := &seldom{base: roundTripper(func(req *http.Request) (*http.Response, error) {
			n++
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(strconv.Itoa(n))), Request: req}, nil
		})}
		for _, step := range []struct {
			after  time.Duration
			status int
			want   string
		}{{0, 200, "1"}, {freshKeys - 1, 200, "1"}, {1, 503, "2"}, {0, 200, "3"}, {time.Second, 200, "3"}} {
			time.Sleep(step.after)
			status = step.status
			resp, err := s.RoundTrip(httptest.NewRequest(http.MethodGet, "https://login.example/keys", nil))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != step.want || resp.StatusCode != step.status {
				t.Errorf("%d %s, %v; want %d %s", resp.StatusCode, body, err, step.status, step.want)
			}
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A challenge that Graph repeats although the client has answered it, and Entra ID's refusals, become the caller's:
// with claims where there are some.
func TestChallengesAreHandedOn(t *testing.T) {
	t.Parallel()
	const acrs = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for name, k := range map[string]struct {
		fault             entratest.Fault
		status            int
		challenge, claims string
	}{
		"a second factor is wanted": {entratest.Fault{Status: 400, Body: interaction}, 401,
			`error="insufficient_claims", claims="`, acrs},
		"the user is gone": {entratest.Fault{Status: 400,
			Body: `{"error":"invalid_grant","error_description":"AADSTS50173: revoked"}`}, 401,
			`Bearer error="invalid_token"`, ""},
		"the secret has expired": {entratest.Fault{Status: 401,
			Body: `{"error":"invalid_client","error_description":"AADSTS7000222: expired"}`}, 502, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			c := newCaller(t, w)
			w.Entra.AddFault(k.fault)
			a := c.mustMe(t, c.mustSignIn(t, grace))
			if a.status != k.status || !strings.Contains(a.challenge, k.challenge) || a.claims != k.claims {
				t.Errorf("%d, %q, %q", a.status, a.challenge, a.claims)
			}
			if strings.Contains(a.body, "AADSTS") {
				t.Errorf("Entra ID's words go to the caller: %s", a.body)
			}
		})
	}
	t.Run("Graph is not content", func(t *testing.T) {
		t.Parallel()
		challenge := `Bearer realm="", error="insufficient_claims", ` +
			`claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`
		e := example
		e.Emulate = func(w *standin.World) error {
			w.Entra.AddUser(entratest.User{Username: grace})
			return w.Serve(map[string]http.Handler{
				"graph.microsoft.com": http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
					out.Header().Set("WWW-Authenticate", challenge)
					out.WriteHeader(http.StatusUnauthorized)
				}),
			})
		}
		w := standin.ForTest(t, e)
		c := newCaller(t, w)
		if a := c.mustMe(t, c.mustSignIn(t, grace)); a.status != 401 || a.challenge != challenge || a.claims != acrs {
			t.Errorf("%d, %q, %q", a.status, a.challenge, a.claims)
		}
	})
}
