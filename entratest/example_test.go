package entratest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func Example() {
	entra, err := entratest.NewServer(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer entra.Close()
	const clientID = "11111111-1111-4111-8111-111111111111"
	entra.AddApp(entratest.App{ClientID: clientID, Secret: "s3cret"})

	cred, err := confidential.NewCredFromSecret("s3cret")
	if err != nil {
		log.Fatal(err)
	}
	app, err := confidential.New(entra.Authority("contoso.onmicrosoft.com"), clientID, cred,
		confidential.WithHTTPClient(entra.HTTPClient()))
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if _, err := app.AcquireTokenByCredential(context.Background(),
			[]string{"https://graph.microsoft.com/.default"}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("token requests:", entra.Count(entratest.ByGrant("client_credentials")))
	// Output: token requests: 1
}

// Throttling, as Entra ID does it: the second request is refused for 30 seconds.
func ExampleServer_AddFault() {
	entra, err := entratest.NewServer(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer entra.Close()
	remove := entra.AddFault(entratest.Fault{
		Match:      entratest.ByScope("https://graph.microsoft.com/.default"),
		Times:      1,
		Status:     429,
		RetryAfter: "30",
	})
	defer remove()
}
