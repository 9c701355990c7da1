// Command azuresdk reads a secret of a Key Vault with the Azure SDK, by two credentials side by side: azidentity's over
// the refresh gate, and azcred, which is MSAL over the whole cache. It does so in two processes, and one token request
// serves all of them.
//
//	go run ./examples/azuresdk
//
// This file is what to copy. processes.go and emulated.go are there so that it runs, and is tested, with Go alone.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// read is a service. In one of yours env is os.Getenv, and network and options are nil.
func read(
	ctx context.Context, env func(string) string, network http.RoundTripper, options *msalredis.Options, out io.Writer,
) error {
	rdb, err := connect.Open(env("REDIS_URL"), nil)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer rdb.Close()
	keys, err := serializer.ParseKeys(env("TOKEN_CACHE_KEYS"))
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	tokens, err := msalredis.New(rdb, sealer, options)
	if err != nil {
		return err
	}
	defer tokens.Close()
	tenant, clientID := env("AZURE_TENANT_ID"), env("AZURE_CLIENT_ID")

	// Any credential of azidentity that asks Entra ID: the gate is its transport, and shares its answers. It tries again
	// by itself what is worth it, so azcore, which would do so under a mutex, need not.
	gate := &azidentity.ClientSecretCredentialOptions{}
	gate.Transport = &http.Client{Transport: tokens.Transport(network)} // tokens.HTTPClient(), where network is nil
	gate.Retry.MaxRetries = -1
	overGate, err := azidentity.NewClientSecretCredential(tenant, clientID, env("AZURE_CLIENT_SECRET"), gate)
	if err != nil {
		return err
	}

	// The same of MSAL, with what it keeps shared too.
	secret, err := confidential.NewCredFromSecret(env("AZURE_CLIENT_SECRET"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	overCache, err := azcred.New("https://login.microsoftonline.com/"+tenant, clientID, secret, tokens,
		&azcred.Options{Transport: network})
	if err != nil {
		return err
	}

	for _, by := range []struct {
		name string
		cred azcore.TokenCredential
	}{{"azidentity over the gate", overGate}, {"azcred over the cache", overCache}} {
		o := &azsecrets.ClientOptions{}
		if network != nil {
			o.Transport = &http.Client{Transport: network}
		}
		vault, err := azsecrets.NewClient(env("KEY_VAULT_URL"), by.cred, o)
		if err != nil {
			return fmt.Errorf("KEY_VAULT_URL: %w", err)
		}
		s, err := vault.GetSecret(ctx, env("KEY_VAULT_SECRET"), "", nil)
		if err != nil {
			return fmt.Errorf("%s: %w", by.name, err)
		}
		fmt.Fprintf(out, "%s: secret %s has %d characters\n", by.name, s.ID.Name(), len(*s.Value))
	}
	return nil
}
