package azcred_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// An azidentity credential shares its tokens with the gate as its transport. Here two of them, as in two processes,
// cost one token request. A service uses tokens.HTTPClient(); this example puts the gate before an emulator instead.
func Example_azidentity() {
	entra, err := entratest.NewServer(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer entra.Close()
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	tokens := exampleCache()
	defer tokens.Close()
	gate := &http.Client{Transport: tokens.Transport(entra.Transport())} // in a service: tokens.HTTPClient()

	for range 2 {
		cred, err := azidentity.NewClientSecretCredential(tenant, clientID, secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: azcore.ClientOptions{
				Transport: gate,
				Retry:     policy.RetryOptions{MaxRetries: -1}, // the gate tries again where that helps
			},
		})
		if err != nil {
			log.Fatal(err)
		}
		_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{vault}, EnableCAE: true})
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(entra.Count(), "token request")
	// Output: 1 token request
}

// The credential of an app, for every client of the Azure SDK.
func ExampleNew() {
	entra, err := entratest.NewServer(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer entra.Close()
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	tokens := exampleCache()
	defer tokens.Close()

	msalCred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		log.Fatal(err)
	}
	cred, err := azcred.New("https://login.microsoftonline.com/"+tenant, clientID, msalCred, tokens, &azcred.Options{
		Transport: entra.Transport(), // to the emulator
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{vault}, EnableCAE: true})
	fmt.Println(token.Token != "", err)
	// Output: true <nil>
}

// exampleCache is a Cache on a Redis embedded in the process.
func exampleCache() *msalredis.Cache {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := msalredis.New(redis.NewClient(&redis.Options{Addr: server.Addr()}), sealer, nil)
	if err != nil {
		log.Fatal(err)
	}
	return tokens
}
