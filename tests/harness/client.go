package harness

import (
	"context"
	"net/http"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// App is a confidential client of the instance.
func (i *Instance) App(opts ...confidential.Option) confidential.Client {
	i.World.T.Helper()
	return NewApp(i.World.T, i.World.Entra.Authority(Tenant), i.Tokens, i.HTTP, opts...)
}

// NewApp is a confidential client whose Cache, if there is one, and HTTP client are given.
func NewApp(
	t testing.TB, authority string, tokens cache.ExportReplace, client *http.Client, opts ...confidential.Option,
) confidential.Client {
	t.Helper()
	app, err := MakeApp(authority, tokens, client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// MakeApp is NewApp where no test is at hand.
func MakeApp(
	authority string, tokens cache.ExportReplace, client *http.Client, opts ...confidential.Option,
) (confidential.Client, error) {
	cred, err := confidential.NewCredFromSecret(ClientSecret)
	if err != nil {
		return confidential.Client{}, err
	}
	opts = append([]confidential.Option{confidential.WithHTTPClient(client)}, opts...)
	if tokens != nil {
		opts = append(opts, confidential.WithCache(tokens))
	}
	return confidential.New(authority, ClientID, cred, opts...)
}

// Public is a public client of the instance.
func (i *Instance) Public() public.Client {
	i.World.T.Helper()
	c, err := public.New(PublicID, public.WithAuthority(i.World.Entra.Authority(Tenant)),
		public.WithCache(i.Tokens), public.WithHTTPClient(i.HTTP))
	if err != nil {
		i.World.T.Fatal(err)
	}
	return c
}

// SignIn signs a user in at a confidential client with an authorization code.
func (i *Instance) SignIn(app confidential.Client, u entratest.User, scopes ...string) confidential.AuthResult {
	i.World.T.Helper()
	ctx := context.Background()
	if len(scopes) == 0 {
		scopes = []string{UserScope}
	}
	link, err := app.AuthCodeURL(ctx, ClientID, RedirectURI, scopes)
	if err != nil {
		i.World.T.Fatal(err)
	}
	code, err := i.World.Entra.AuthorizeCode(link, u.Username)
	if err != nil {
		i.World.T.Fatal(err)
	}
	result, err := app.AcquireTokenByAuthCode(ctx, code, RedirectURI, scopes)
	if err != nil {
		i.World.T.Fatalf("sign-in: %v", err)
	}
	return result
}

// Silent acquires a user's token as a web app does: Account, then AcquireTokenSilent.
func Silent(
	ctx context.Context, app confidential.Client, homeAccountID string, scopes ...string,
) (r confidential.AuthResult, err error) {
	defer func() { Canary.SawError(err) }()
	if len(scopes) == 0 {
		scopes = []string{UserScope}
	}
	account, err := app.Account(ctx, homeAccountID)
	if err != nil {
		return confidential.AuthResult{}, err
	}
	return app.AcquireTokenSilent(ctx, scopes, confidential.WithSilentAccount(account))
}

// GateApp is a client with the gate alone, as an Azure SDK credential has it.
func (i *Instance) GateApp(opts ...confidential.Option) confidential.Client {
	i.World.T.Helper()
	return NewApp(i.World.T, i.World.Entra.Authority(Tenant), nil, i.HTTP, opts...)
}

// PublicSignIn signs a user in at a public client with a device code.
func PublicSignIn(t *testing.T, w *World, c public.Client, u entratest.User) public.AuthResult {
	t.Helper()
	ctx := context.Background()
	device, err := c.AcquireTokenByDeviceCode(ctx, []string{UserScope})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Entra.ApproveDevice(device.Result.UserCode, u.Username); err != nil {
		t.Fatal(err)
	}
	result, err := device.AuthenticationResult(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func Must(t *testing.T) func(confidential.AuthResult, error) string {
	return func(r confidential.AuthResult, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r.AccessToken
	}
}

func Succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		Canary.SawError(err)
		t.Errorf("%v", err)
	}
}
