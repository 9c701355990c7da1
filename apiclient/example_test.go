package apiclient_test

import (
	"fmt"
	"log"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/msal-redis/msal-redis-go/apiclient"
)

// One client for an API, made at the start and shared.
func ExampleNew() {
	var cred azcore.TokenCredential = &credential{} // of package azcred, or of azidentity over the gate

	client, err := apiclient.New("https://api.businesscentral.dynamics.com", cred, &apiclient.Options{MaxConnsPerHost: 32})
	fmt.Println(client != nil, err)

	// An API whose scope is not its address.
	client, err = apiclient.New("https://orders.contoso.com", cred,
		&apiclient.Options{Scopes: []string{"api://orders/.default"}})
	fmt.Println(client != nil, err)

	if _, err = apiclient.New("http://orders.contoso.com", cred, nil); err == nil {
		log.Fatal("a token over plain HTTP")
	}
	// Output:
	// true <nil>
	// true <nil>
}
