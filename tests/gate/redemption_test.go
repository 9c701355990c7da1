package gate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Two scopes of one user requested at once on two instances redeem each refresh token once.
func TestTwoScopesAtOnceRedeemEachRefreshTokenOnce(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	appA, appB := a.App(), b.App()
	a.SignIn(appA, u)
	harness.Must(t)(harness.Silent(context.Background(), appB, u.HomeAccountID())) // both hold the first refresh token
	d := w.Door(entratest.ByGrant(harness.RefreshGrant))
	outs := harness.StartCalls(16, func(i int) (confidential.AuthResult, error) {
		app, scope := appA, harness.MailScope
		if i%2 == 1 {
			app, scope = appB, harness.FilesScope
		}
		return harness.Silent(context.Background(), app, u.HomeAccountID(), scope)
	})
	d.Wait(t)
	harness.InGate(t, 16)
	w.LeaseWaiters(t, 1)
	d.Open()
	for _, g := range harness.CollectCalls(t, 16, outs) {
		if g.Err != nil {
			t.Error(g.Err)
		}
	}
	if g := w.Generations(); fmt.Sprint(g) != "[1 2]" {
		t.Errorf("generations redeemed: %v, want [1 2]%s", g, harness.RequestsText(w.Entra.Requests()))
	}
	if n := w.Entra.MaxConcurrent(entratest.ByGrant(harness.RefreshGrant)); n > 1 {
		t.Errorf("%d redemptions at once", n)
	}
	w.NoRefusals(t)
}

// The same in processes, with four scopes.
func TestScopesAtOnceInProcessesRedeemEachRefreshTokenOnce(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	i := w.Instance()
	i.SignIn(i.App(), u)
	ps := w.Processes(3)
	scopes := []string{harness.MailScope, harness.FilesScope, harness.CalendarScope,
		"https://graph.microsoft.com/Notes.Read"}
	order := harness.Order{Op: "silent", Account: u.HomeAccountID(), Scopes: scopes, N: 8, Split: true}
	for _, out := range harness.DoAll(ps, order) {
		for _, e := range out.Errors {
			t.Error(e)
		}
	}
	if g := w.Generations(); fmt.Sprint(g) != "[1 2 3 4]" {
		t.Errorf("generations redeemed: %v, want 1 to 4%s", g, harness.RequestsText(w.Entra.Requests()))
	}
	w.NoRefusals(t)
}

// An instance whose MSAL holds a refresh token that another has redeemed since goes on with the newest one.
func TestOldRefreshTokenInMSALIsReplacedByTheNewest(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	appA, appB := a.App(), b.App()
	a.SignIn(appA, u)
	harness.Must(t)(harness.Silent(ctx, appB, u.HomeAccountID()))
	harness.Must(t)(harness.Silent(ctx, appA, u.HomeAccountID(), harness.MailScope))
	harness.Must(t)(harness.Silent(ctx, appA, u.HomeAccountID(), harness.FilesScope))
	harness.Must(t)(harness.Silent(ctx, appB, u.HomeAccountID(), harness.CalendarScope))
	if g := w.Generations(); fmt.Sprint(g) != "[1 2 3]" {
		t.Errorf("generations redeemed: %v, want [1 2 3]%s", g, harness.RequestsText(w.Entra.Requests()))
	}
	w.NoRefusals(t)
}

// A refused refresh token: Entra ID's error comes as it is to all who waited, after one request.
func TestInvalidGrantReachesAllAfterOneRequest(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	apps := []confidential.Client{a.App(), b.App()}
	a.SignIn(apps[0], u)
	w.Entra.RevokeUser(u.HomeAccountID())
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return harness.Silent(ctx, apps[i%2], u.HomeAccountID(), harness.MailScope)
	}) {
		if g.Err == nil || !strings.Contains(g.Err.Error(), "AADSTS50173") ||
			!strings.Contains(g.Err.Error(), "invalid_grant") {
			t.Errorf("a caller got %v, want AADSTS50173", g.Err)
		}
	}
	w.Count(t, 1, "stampede on a revoked user", entratest.ByGrant(harness.RefreshGrant))
	// A new sign-in ends it at once.
	a.SignIn(apps[0], u)
	harness.Must(t)(harness.Silent(ctx, apps[0], u.HomeAccountID(), harness.MailScope))
}
