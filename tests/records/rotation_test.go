package records_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A new sealing key comes in two roll-outs: last everywhere, then first. At no moment is a token lost, the old key
// opens and the new one seals; and dropping the old key costs one request for each token that it had sealed, and no
// error.
func TestRotationOfSealingKeys(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	k1, k2 := w.Keys, harness.GeneratedKey(t, "k2")
	with := func(keys string) (*harness.Instance, confidential.Client, *counters) {
		t.Helper()
		o, metrics := harness.Options(w.Prefix), newCounters()
		o.Telemetry = msalredisotel.Telemetry{MeterProvider: metrics}
		i := w.InstanceOn(w.Redis.Admin, w.Sealer(keys), o)
		return i, i.App(), metrics
	}
	get := func(app confidential.Client, scope string) {
		t.Helper()
		if _, err := app.AcquireTokenByCredential(ctx, []string{scope}); err != nil {
			t.Error(err)
		}
	}
	user := func(app confidential.Client, scope string) {
		t.Helper()
		if _, err := harness.Silent(ctx, app, u.HomeAccountID(), scope); err != nil {
			t.Error(err)
		}
	}
	const dataverse = "https://org.crm4.dynamics.com/.default"

	old, oldApp, _ := with(k1)
	old.SignIn(oldApp, u)
	get(oldApp, harness.GraphScope)
	w.Count(t, 2, "the old key alone")

	// The first roll-out: instances with and without the new key live together.
	_, bothApp, metrics := with(k1 + "," + k2)
	get(bothApp, harness.GraphScope)
	user(bothApp, harness.UserScope)
	w.Count(t, 2, "the new key is last")
	get(bothApp, dataverse)
	get(oldApp, dataverse)
	w.Count(t, 3, "what an instance with both stores, one without the new key reads")

	// The second: the new key seals, and instances of the first roll-out read it.
	_, newApp, metrics2 := with(k2 + "," + k1)
	get(newApp, harness.GraphScope)
	get(newApp, dataverse)
	user(newApp, harness.UserScope)
	w.Count(t, 3, "the new key is first")
	user(newApp, harness.MailScope)
	w.Count(t, 4, "a new token")
	user(bothApp, harness.MailScope)
	w.Count(t, 4, "what the new key sealed, an instance of the first roll-out reads")
	for _, m := range []*counters{metrics, metrics2} {
		if n := m.of(unreadable); n != 0 {
			t.Errorf("%d values could not be read during the rotation", n)
		}
	}
	w.Keys = k2 + "," + k1
	sealed := map[string]int{}
	for _, r := range w.Records() {
		sealed[sealedWith(r.Value)]++
		fresh := r.Section == msaldoc.SectionAccessToken && strings.Contains(r.Target, "Mail.Read")
		if want := "k2"; fresh && sealedWith(r.Value) != want {
			t.Errorf("a new token is sealed with %q, want %q", sealedWith(r.Value), want)
		}
	}
	if sealed["k1"] == 0 || sealed["k2"] == 0 {
		t.Fatalf("sealed with %v: the test has lost its point", sealed)
	}

	// The old key is dropped too early: misses, and nothing else.
	w.Keys = k2
	w.Entra.ResetRequests()
	_, lastApp, metrics := with(k2)
	user(lastApp, harness.MailScope)
	w.Count(t, 0, "a token of the new key")
	get(lastApp, harness.GraphScope)
	w.Count(t, 1, "a token of the dropped key")
	get(lastApp, harness.GraphScope)
	w.Count(t, 1, "the token that replaced it")
	if metrics.of(unreadable+"unknown_key") == 0 {
		t.Error("values of the dropped key are not counted")
	}
	if n := metrics.of(unreadable); n != metrics.of(unreadable+"unknown_key") {
		t.Errorf("unreadable for another reason: %v", metrics.n)
	}
}

// Tokens that could not be sealed are sealed and stored when that is possible again, and one failure is logged once.
func TestTokensThatCouldNotBeSealedAreStoredLater(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	log, sealer := &harness.Journal{}, &sealingFails{Serializer: w.Sealer(w.Keys)}
	o := harness.Options(w.Prefix)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	here := w.InstanceOn(w.Client(), sealer, o)
	sealer.away.Store(true)
	token := here.SignIn(here.App(), u).AccessToken
	unsealed := func() float64 {
		return (&harness.Census{All: map[string]harness.Point{}}).Of(t, here, "msalredis.records.unsealed",
			"msalredis.record=entry")
	}
	once := unsealed()
	harness.Eventually(t, "it is tried again", func() bool { return unsealed() > once+1 })
	if n := strings.Count(log.String(), "could not be sealed"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	sealer.away.Store(false)
	stored := w.Fields()
	harness.Eventually(t, "the tokens get there", func() bool { return stored() > 0 })
	if harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())) != token {
		t.Error("elsewhere: another token")
	}
	w.Count(t, 1, "the sign-in")
}
