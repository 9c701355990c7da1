package entralogin_test

import (
	"context"
	"log"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entralogin"
)

// A service logs in to Azure Managed Redis with its managed identity.
func ExampleNew() {
	cred, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	login, err := entralogin.New(cred, nil)
	if err != nil {
		log.Fatal(err)
	}
	rdb, err := connect.Dial(context.Background(), "rediss://name.region.redis.azure.net:10000",
		&connect.Options{Credentials: login})
	if err != nil {
		log.Fatal(err)
	}
	defer rdb.Close()
}
