package tokensource_test

import (
	"context"
	"net/http"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"golang.org/x/oauth2"

	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
	"github.com/msal-redis/msal-redis-go/tokensource"
)

// An HTTP client that attaches an app's token to every request.
func ExampleForApp() {
	var app confidential.Client // made with WithCache(tokens) and WithHTTPClient(tokens.HTTPClient())

	source := tokensource.ForApp(context.Background(), app, []string{"https://api.businesscentral.dynamics.com/.default"})
	client := &http.Client{Transport: &oauth2.Transport{Source: source}}
	_ = client
}

// For each of many tenants: the source is of the MSAL client that serves the tenant.
func ExampleForApp_manyTenants() {
	var clients *clientpool.Shards[confidential.Client] // made with clientpool.NewShards

	source := func(ctx context.Context, tenant string) (oauth2.TokenSource, error) {
		app, err := clients.Get(tenant)
		if err != nil {
			return nil, err
		}
		return tokensource.ForApp(ctx, app, []string{"https://api.businesscentral.dynamics.com/.default"},
			confidential.WithTenantID(tenant)), nil
	}
	_ = source
}
