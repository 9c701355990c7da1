// Command quickstart is a service in one screen: it takes an app's token through the shared cache and says where it
// came from. Start it twice, at the same time or one after the other, on one machine or two: Entra ID is asked once.
//
//	export AZURE_TENANT_ID=... AZURE_CLIENT_ID=... AZURE_CLIENT_SECRET=...
//	export REDIS_URL=redis://localhost:6379
//	export TOKEN_CACHE_KEYS="$(go run github.com/msal-redis/msal-redis-go/cmd/msalredis@latest keygen)"
//	go run github.com/msal-redis/msal-redis-go/examples/quickstart@latest
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, http.DefaultTransport, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		stop()
		os.Exit(1)
	}
}

// asking notes whether a token request has gone to Entra ID. A service needs none: it takes tokens.HTTPClient().
type asking struct {
	base  http.RoundTripper
	asked bool
}

func (a *asking) RoundTrip(req *http.Request) (*http.Response, error) {
	a.asked = a.asked || req.Method == http.MethodPost
	return a.base.RoundTrip(req)
}

func run(ctx context.Context, env func(string) string, base http.RoundTripper, out io.Writer) error {
	for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "REDIS_URL",
		"TOKEN_CACHE_KEYS"} {
		if env(name) == "" {
			return fmt.Errorf("%s is not set: go doc github.com/msal-redis/msal-redis-go/examples/quickstart", name)
		}
	}
	rdb, err := connect.Dial(ctx, env("REDIS_URL"), nil)
	if err != nil {
		return err
	}
	defer rdb.Close()
	keys, err := serializer.ParseKeys(env("TOKEN_CACHE_KEYS"))
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return err
	}
	tokens, err := msalredis.New(rdb, sealer, nil)
	if err != nil {
		return err
	}
	defer tokens.Close()

	entra := &asking{base: base}
	cred, err := confidential.NewCredFromSecret(env("AZURE_CLIENT_SECRET"))
	if err != nil {
		return err
	}
	app, err := confidential.New("https://login.microsoftonline.com/"+env("AZURE_TENANT_ID"), env("AZURE_CLIENT_ID"), cred,
		confidential.WithCache(tokens), // share tokens
		confidential.WithHTTPClient(&http.Client{Transport: tokens.Transport(entra)})) // one refresh
	if err != nil {
		return err
	}
	result, err := app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"})
	if err != nil {
		return err
	}
	from := "the shared cache"
	if entra.asked {
		from = "Entra ID"
	}
	fmt.Fprintf(out, "a token from %s, good until %s\n", from, result.ExpiresOn.Format("15:04:05"))
	return nil
}
