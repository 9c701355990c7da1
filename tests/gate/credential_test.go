package gate_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// asserting is a client that proves itself with whatever assertion there is at the moment, as a pod does with its
// projected token.
func asserting(i *harness.Instance, t *testing.T, assertion *atomic.Value) confidential.Client {
	t.Helper()
	cred := confidential.NewCredFromAssertionCallback(
		func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			return assertion.Load().(string), nil
		})
	app, err := confidential.New(i.World.Entra.Authority(harness.Tenant), harness.ClientID, cred,
		confidential.WithHTTPClient(i.HTTP), confidential.WithCache(i.Tokens))
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// A credential that was refused says nothing of another, on another instance or in this one: a pod's token may be
// stale, and be read anew.
func TestRefusedCredentialRefusesNoOther(t *testing.T) {
	t.Parallel()
	cert, key := harness.SelfSigned(t)
	for name, refused := range map[string]entratest.Fault{
		"of a time": {Status: http.StatusUnauthorized,
			Body: entratest.ErrorBody("invalid_client", 700024, "Client assertion is not within its valid time range.")},
		"of a signature": {Status: http.StatusUnauthorized,
			Body: entratest.ErrorBody("invalid_client", 700027, "The certificate is not registered.")},
		"of a client": {Status: http.StatusBadRequest,
			Body: entratest.ErrorBody("unauthorized_client", 700016, "Application was not found.")},
		"by its number": {Status: http.StatusBadRequest, Body: entratest.ErrorBody("invalid_request", 7000218,
			"The request body must contain client_assertion or client_secret.")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			w.Entra.AddApp(entratest.App{ClientID: harness.ClientID, Certificate: cert})
			sign := func(id string) string {
				now := time.Now()
				token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
					"iss": harness.ClientID, "sub": harness.ClientID, "aud": w.Entra.Authority(harness.Tenant) + "/oauth2/v2.0/token",
					"jti": id, "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()})
				sum := sha1.Sum(cert.Raw)
				token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
				text, err := token.SignedString(key)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			ctx := context.Background()
			var mine, theirs atomic.Value
			theirs.Store(sign("theirs"))
			a, b := asserting(w.Instance(), t, &mine), asserting(w.Instance(), t, &theirs)
			// stale has the next request of a scope refused, and a show another credential than anybody before.
			stale := func(scope string) {
				mine.Store(sign("stale for " + scope))
				refused.Match = first()
				w.Entra.AddFault(refused)
				w.Entra.ResetRequests()
			}

			stale(harness.GraphScope)
			for range 2 { // who shows the same one again shares its refusal
				if _, err := a.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err == nil {
					t.Fatal("a refused credential got a token")
				}
			}
			w.Count(t, 1, "a refused credential")
			harness.Must(t)(b.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			w.Count(t, 2, "another instance's credential")

			stale(harness.DynamicsScope)
			if _, err := a.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}); err == nil {
				t.Fatal("a refused credential got a token")
			}
			mine.Store(sign("read anew"))
			harness.Must(t)(a.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
			w.Count(t, 2, "the credential read anew")

			const vault = "https://vault.azure.net/.default"
			stale(vault)
			d := w.Door(func(r entratest.Request) bool { return r.Scope == vault })
			outs := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
				return a.AcquireTokenByCredential(ctx, []string{vault})
			})
			d.Wait(t)
			mine.Store(sign("read while the stale one is judged"))
			joined := harness.StartCalls(2, func(n int) (confidential.AuthResult, error) {
				return []confidential.Client{a, b}[n].AcquireTokenByCredential(ctx, []string{vault})
			})
			w.LeaseWaiters(t, 1)
			d.Open()
			if harness.CollectCalls(t, 1, outs)[0].Err == nil {
				t.Error("a refused credential got a token")
			}
			for _, g := range harness.CollectCalls(t, 2, joined) {
				if g.Err != nil {
					t.Errorf("who waited with another credential: %v", g.Err)
				}
			}
		})
	}
}

// A stale credential costs its own request. Those who wait with valid ones go on as one: no request each.
func TestStaleCredentialEndsNoCoordination(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	cert, key := harness.SelfSigned(t)
	w.Entra.AddApp(entratest.App{ClientID: harness.ClientID, Certificate: cert})
	const pods = 12
	var all []confidential.Client
	for n := range pods {
		now := time.Now()
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": harness.ClientID, "sub": harness.ClientID, "aud": w.Entra.Authority(harness.Tenant) + "/oauth2/v2.0/token",
			"jti": strconv.Itoa(n), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()})
		sum := sha1.Sum(cert.Raw)
		token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		var assertion atomic.Value
		assertion.Store(text)
		all = append(all, asserting(w.Instance(), t, &assertion))
	}
	w.Entra.AddFault(entratest.Fault{Match: first(), Status: http.StatusUnauthorized,
		Body: entratest.ErrorBody("invalid_client", 700024, "Client assertion is not within its valid time range.")})
	d := w.Door(first())
	stale := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
		return all[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	})
	d.Wait(t)
	valid := harness.StartCalls(pods-1, func(n int) (confidential.AuthResult, error) {
		return all[n+1].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	})
	w.LeaseWaiters(t, pods-1)
	d.Open()
	if harness.CollectCalls(t, 1, stale)[0].Err == nil {
		t.Error("a refused credential got a token")
	}
	harness.OneToken(t, harness.CollectCalls(t, pods-1, valid))
	w.Count(t, 2, "a stale credential and the others' request")
}
