package msalredis_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
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

// endpointsByID names a tenant's endpoints by its id, whatever the name that it was asked for, as Entra ID does.
type endpointsByID struct {
	base  http.RoundTripper
	names []string
	id    string
}

func (e endpointsByID) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := e.base.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, name := range e.names {
		body = bytes.ReplaceAll(body, []byte("/"+name+"/"), []byte("/"+e.id+"/"))
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, err
}

// Clients that name one tenant by its domains and by its id share its tokens, and each of the names forgets them for all.
func TestForgetAppTokensByAnyNameOfTheTenant(t *testing.T) {
	names := []string{"contoso.example", "fabrikam.example", tenant}
	for _, gateAlone := range []bool{false, true} {
		for first := range names {
			t.Run(fmt.Sprintf("%s first, gate alone: %v", names[first], gateAlone), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				ctx := context.Background()
				var here []*instance
				var apps []func() confidential.Client
				for _, name := range names {
					i := w.instance()
					base := w.entra.Transport()
					t.Cleanup(base.CloseIdleConnections)
					client := &http.Client{Transport: i.tokens.Transport(endpointsByID{base, names[:2], tenant})}
					app := newApp(t, w.entra.Authority(name), i.tokens, client)
					here, apps = append(here, i), append(apps, func() confidential.Client {
						if gateAlone { // MSAL's own memory knows of no removal
							return newApp(t, w.entra.Authority(name), nil, client)
						}
						return app
					})
				}
				get := func(n int) string {
					t.Helper()
					return must(t)(apps[n]().AcquireTokenByCredential(ctx, []string{graph}))
				}
				all := func() string {
					t.Helper()
					old := get(first)
					for n := range names {
						if get(n) != old {
							t.Fatalf("%s does not share the token", names[n])
						}
					}
					return old
				}
				for n, name := range names {
					for _, scopes := range [][]string{nil, {graph}} {
						old := all()
						w.listening(t, len(names))
						if err := here[(n+1)%len(here)].tokens.ForgetAppTokens(ctx, clientID, name, scopes...); err != nil {
							t.Fatal(err)
						}
						for n := range names {
							eventually(t, names[n]+" asks anew after "+name+" was forgotten", func() bool { return get(n) != old })
						}
					}
				}
				w.count(t, 1+2*len(names), "one for all after each removal")
			})
		}
	}
}
