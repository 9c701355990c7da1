package msalredis_test

import (
	"context"
	"testing"
)

// A tenant's name is the same in capitals, which MSAL keeps in its question for the endpoints and drops in its cache.
func TestForgetAppTokensOfATenantInCapitals(t *testing.T) {
	w := newWorld(t)
	here, there := w.instance(), w.instance()
	ctx := context.Background()
	get := func(i *instance, name string) string {
		t.Helper()
		app := newApp(t, w.entra.Authority(name), i.tokens, i.http)
		return must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	}
	for n, name := range []string{"Contoso.Example", "contoso.example", "CONTOSO.example"} {
		get(here, "Contoso.Example")
		old := get(there, "contoso.Example")
		w.count(t, n+1, "before "+name)
		w.listening(t, 2)
		if err := here.tokens.ForgetAppTokens(ctx, clientID, name); err != nil {
			t.Fatal(err)
		}
		if get(here, "Contoso.Example") == old {
			t.Errorf("%s: here serves the token that was forgotten", name)
		}
		eventually(t, "there asks anew", func() bool { return get(there, "contoso.Example") != old })
	}
}
