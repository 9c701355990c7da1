// Command migrating shows a service moving from the accessor that one writes first to the shared cache, without signing
// anybody out and without a token request: see importing.go, and docs/migrating.md.
//
//	go run ./examples/migrating
//
// It needs nothing but Go: Redis is embedded, Entra ID the emulator of package entratest.
//
// The file importing.go is what to copy. naive.go stands for the accessor that a service has had, and this file plays
// the move; they are not part of the service.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/alicebob/miniredis/v2"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const (
	clientID    = "3eba9900-0000-4000-8000-000000000002"
	secret      = "known to everybody"
	redirectURI = "http://localhost/callback"
	appScope    = "https://graph.microsoft.com/.default"
	userScope   = "https://graph.microsoft.com/User.Read"
)

func main() {
	standin.NoArguments("migrating", "Moves a service's tokens from a naive accessor to the shared cache, and "+
		"counts\ntoken requests. Entra ID and Redis are emulated, whatever the environment names.")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	standin.StopWithParent(stop)
	standin.Exit(ctx, "migrating", run(ctx, "", os.Stdout))
}

// run moves a service whose Redis is at redisURL; "" is an embedded one.
func run(ctx context.Context, redisURL string, out io.Writer) error {
	entra, err := entratest.NewServer(nil)
	if err != nil {
		return err
	}
	defer entra.Close()
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret, RedirectURIs: []string{redirectURI}})
	entra.AddUser(entratest.User{Username: "ada@contoso.com", Name: "Ada Lovelace"})
	if redisURL == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.StartAddr("127.0.0.1:0"); err != nil {
			return err
		}
		defer embedded.Close()
		embedded.ClockTTL(true) // what expires does so by its time to live; without this, never
		redisURL = "redis://" + embedded.Addr()
	}
	rdb, err := connect.Open(redisURL, nil)
	if err != nil {
		return err
	}
	defer rdb.Close()

	step := func(what string) {
		fmt.Fprintf(out, "%-62s %d token requests so far\n", what, entra.Count())
	}

	// The service as it was: an instance has an app's token, and Ada has signed in.
	old := naive{rdb}
	before, err := newApp(entra, old, entra.Transport())
	if err != nil {
		return err
	}
	if _, err := before.AcquireTokenByCredential(ctx, []string{appScope}); err != nil {
		return err
	}
	ada, err := signIn(ctx, entra, before)
	if err != nil {
		return err
	}
	step("naive accessor: an app's token, and Ada signs in")

	// An instance of the new version, while old ones run. It finds what they have.
	key, err := serializer.GenerateKey("demo")
	if err != nil {
		return err
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		return err
	}
	tokens, err := msalredis.New(rdb, sealer, &msalredis.Options{OpTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer tokens.Close()
	both := &importing{Cache: tokens, old: old}
	gate := tokens.Transport(entra.Transport()) // a service need not name it: NewConfidential does
	during, err := newSharedApp(tokens, entra, gate, confidential.WithCache(both))
	if err != nil {
		return err
	}
	if err := use(ctx, during, ada); err != nil {
		return err
	}
	step("shared cache that takes over old records: both are found")

	// The old instances are gone, and so is the need to look at their records.
	after, err := newSharedApp(tokens, entra, gate)
	if err != nil {
		return err
	}
	if err := use(ctx, after, ada); err != nil {
		return err
	}
	step("shared cache alone: both are found")

	if err := both.RemoveAccount(ctx, ada.HomeAccountID); err != nil {
		return err
	}
	for _, app := range []confidential.Client{during, after} {
		if _, err := app.AcquireTokenSilent(ctx, []string{userScope}, confidential.WithSilentAccount(ada)); err == nil {
			return errors.New("a token for Ada, who has signed out")
		}
	}
	step("Ada signs out: nobody finds her tokens")
	return nil
}

// newApp is a client as a service makes it that does not know the library.
func newApp(
	entra *entratest.Server, accessor cache.ExportReplace, transport http.RoundTripper,
) (confidential.Client, error) {
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return confidential.Client{}, err
	}
	return confidential.New(entra.Authority(entratest.DefaultTenant), clientID, cred,
		confidential.WithCache(accessor), confidential.WithHTTPClient(&http.Client{Transport: transport}))
}

// newSharedApp is a client with both halves of the Cache. Options come after those: WithCache puts another accessor in
// the Cache's place, and leaves the gate.
func newSharedApp(
	tokens *msalredis.Cache, entra *entratest.Server, gate http.RoundTripper, options ...confidential.Option,
) (confidential.Client, error) {
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return confidential.Client{}, err
	}
	options = append(options, confidential.WithHTTPClient(&http.Client{Transport: gate}))
	return tokens.NewConfidential(entra.Authority(entratest.DefaultTenant), clientID, cred, options...)
}

func signIn(ctx context.Context, entra *entratest.Server, app confidential.Client) (confidential.Account, error) {
	link, err := app.AuthCodeURL(ctx, clientID, redirectURI, []string{userScope})
	if err != nil {
		return confidential.Account{}, err
	}
	code, err := entra.AuthorizeCode(link, "ada@contoso.com")
	if err != nil {
		return confidential.Account{}, err
	}
	result, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope})
	return result.Account, err
}

// use is what an instance does all day.
func use(ctx context.Context, app confidential.Client, ada confidential.Account) error {
	if _, err := app.AcquireTokenByCredential(ctx, []string{appScope}); err != nil {
		return err
	}
	_, err := app.AcquireTokenSilent(ctx, []string{userScope}, confidential.WithSilentAccount(ada))
	return err
}
