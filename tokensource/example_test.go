package tokensource_test

import (
	"context"
	"net/http"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"golang.org/x/oauth2"

	"github.com/msal-redis/msal-redis-go/tokensource"
)

// An HTTP client that attaches an app's token to every request.
func ExampleForApp() {
	var app confidential.Client // made with WithCache(tokens) and WithHTTPClient(tokens.HTTPClient())

	source := tokensource.ForApp(context.Background(), app, []string{"https://api.businesscentral.dynamics.com/.default"})
	client := &http.Client{Transport: &oauth2.Transport{Source: source}}
	_ = client
}
