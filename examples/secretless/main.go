// Command secretless takes an app's token without a secret or certificate of the app's: a federated identity proves
// it. On AKS that is the pod's workload identity, elsewhere on Azure a managed identity. Instances share the token,
// whichever of them proved itself.
//
//	go run ./examples/secretless
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "secretless:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "secretless"}

// run is the service.
func run(ctx context.Context, out io.Writer) error {
	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil)
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
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	tokens, err := msalredis.New(rdb, sealer, &options)
	if err != nil {
		return err
	}
	defer tokens.Close()

	prove, err := proof()
	if err != nil {
		return err
	}
	app, err := tokens.NewConfidential("https://login.microsoftonline.com/"+os.Getenv("AZURE_TENANT_ID"),
		os.Getenv("AZURE_CLIENT_ID"), confidential.NewCredFromAssertionCallback(prove))
	if err != nil {
		return err
	}
	result, err := app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"})
	if err != nil {
		return err
	}
	fingerprint := sha256.Sum256([]byte(result.AccessToken))
	fmt.Fprintf(out, "token %x, good until %s\n", fingerprint[:6], result.ExpiresOn.Format(time.TimeOnly))
	return nil
}

// proof is what proves the app: a token for api://AzureADTokenExchange of an identity that its registration trusts
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation). MSAL asks for it at each token request.
func proof() (func(context.Context, confidential.AssertionRequestOptions) (string, error), error) {
	// AKS writes it into a file, and renews that.
	if file := os.Getenv("AZURE_FEDERATED_TOKEN_FILE"); file != "" {
		return func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			text, err := os.ReadFile(file)
			return string(text), err
		}, nil
	}
	// A managed identity has it from the platform, and MSAL keeps it in memory. It belongs to the machine: sharing it
	// would save nothing.
	var id managedidentity.ID = managedidentity.SystemAssigned()
	if client := os.Getenv("MANAGED_IDENTITY_CLIENT_ID"); client != "" {
		id = managedidentity.UserAssignedClientID(client)
	}
	identity, err := managedidentity.New(id)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		result, err := identity.AcquireToken(ctx, "api://AzureADTokenExchange")
		return result.AccessToken, err
	}, nil
}
