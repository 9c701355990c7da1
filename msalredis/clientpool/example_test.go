package clientpool_test

import (
	"context"
	"log"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

// A daemon for hundreds of tenants spreads them over 32 MSAL clients.
func ExampleNewShards() {
	var tokens *msalredis.Cache // made when the process began
	var cred confidential.Credential
	clients, err := clientpool.NewShards(32, func() (confidential.Client, error) {
		return tokens.NewConfidential("https://login.microsoftonline.com/organizations", "CLIENT-ID", cred)
	})
	if err != nil {
		log.Fatal(err)
	}
	forTenant := func(ctx context.Context, tenant string) (confidential.AuthResult, error) {
		app, err := clients.Get(tenant)
		if err != nil {
			return confidential.AuthResult{}, err
		}
		return app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"},
			confidential.WithTenantID(tenant))
	}
	_ = forTenant
}
