// Command azuresdk reads a secret of a Key Vault with the Azure SDK, by two credentials side by side: azidentity's over
// the refresh gate, and azcred, which is MSAL over the whole cache. It does so in two processes, and one token request
// serves all of them.
//
//	go run ./examples/azuresdk
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "azuresdk:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "azuresdk"}

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
	tenant, clientID := os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")

	// Any credential of azidentity that asks Entra ID: the gate is its transport, and shares its answers. It tries again
	// by itself what is worth it, so azcore, which would do so under a mutex, need not.
	gate := &azidentity.ClientSecretCredentialOptions{}
	gate.Transport = tokens.HTTPClient()
	gate.Retry.MaxRetries = -1
	overGate, err := azidentity.NewClientSecretCredential(tenant, clientID, os.Getenv("AZURE_CLIENT_SECRET"), gate)
	if err != nil {
		return err
	}

	// The same of MSAL, with what it keeps shared too.
	secret, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	overCache, err := azcred.New("https://login.microsoftonline.com/"+tenant, clientID, secret, tokens, nil)
	if err != nil {
		return err
	}

	for _, by := range []struct {
		name string
		cred azcore.TokenCredential
	}{{"azidentity over the gate", overGate}, {"azcred over the cache", overCache}} {
		o := &azsecrets.ClientOptions{}
		o.Transport = http.DefaultClient // the SDK has one of its own, which the emulated Key Vault could not be behind
		vault, err := azsecrets.NewClient(os.Getenv("KEY_VAULT_URL"), by.cred, o)
		if err != nil {
			return fmt.Errorf("KEY_VAULT_URL: %w", err)
		}
		s, err := vault.GetSecret(ctx, os.Getenv("KEY_VAULT_SECRET"), "", nil)
		if err != nil {
			return fmt.Errorf("%s: %w", by.name, err)
		}
		fmt.Fprintf(out, "%s: secret %s has %d characters\n", by.name, s.ID.Name(), len(*s.Value))
	}
	return nil
}
