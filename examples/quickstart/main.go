// Command quickstart takes an app's token through the shared cache. Start it as often as you like, on as many machines:
// Entra ID is asked once, and each prints the same token's fingerprint.
//
//	go run ./examples/quickstart
//
// Without environment variables that is two processes with an emulated Entra ID, and needs nothing but Go.
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "quickstart"}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil) // asks nothing yet: a service starts while Redis is down
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer rdb.Close()
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return err
	}
	tokens, err := msalredis.New(rdb, sealer, &options) // one for the process
	if err != nil {
		return err
	}
	defer tokens.Close()

	cred, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	app, err := tokens.NewConfidential("https://login.microsoftonline.com/"+os.Getenv("AZURE_TENANT_ID"),
		os.Getenv("AZURE_CLIENT_ID"), cred)
	if err != nil {
		return err
	}
	result, err := app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"})
	if err != nil {
		return err
	}
	fingerprint := sha256.Sum256([]byte(result.AccessToken))
	fmt.Printf("token %x, good until %s\n", fingerprint[:6], result.ExpiresOn.Format(time.TimeOnly))
	return nil
}
