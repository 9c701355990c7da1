package msalredis_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Two Caches, as two instances have them, share a token, which costs one request. A service gives NewConfidential no
// option: here it puts the gate before an emulator of Entra ID.
func ExampleCache_NewConfidential() {
	const clientID, secret = "3eba9900-0000-4000-8000-000000000003", "known to everybody"
	entra, err := entratest.NewServer(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer entra.Close()
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	server := miniredis.NewMiniRedis() // in a service: Redis
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		log.Fatal(err)
	}

	for range 2 {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer rdb.Close()
		tokens, err := msalredis.New(rdb, serializer.Plaintext(), nil)
		if err != nil {
			log.Fatal(err)
		}
		defer tokens.Close()
		app, err := tokens.NewConfidential("https://login.microsoftonline.com/"+entratest.DefaultTenant, clientID, cred,
			confidential.WithHTTPClient(&http.Client{Transport: tokens.Transport(entra.Transport())}))
		if err != nil {
			log.Fatal(err)
		}
		_, err = app.AcquireTokenByCredential(context.Background(), []string{"https://graph.microsoft.com/.default"})
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(entra.Count(), "token request")
	// Output: 1 token request
}

// A web application's sign-out, which holds on every instance.
func ExampleCache_RemoveAccount() {
	var tokens *msalredis.Cache // made when the process began
	signOut := func(w http.ResponseWriter, r *http.Request, homeAccountID string) {
		if err := tokens.RemoveAccount(r.Context(), homeAccountID); err != nil {
			// Redis cannot be reached. The sign-out is tried again until it is done; this instance has forgotten the user.
			log.Print(err)
		}
		http.Redirect(w, r, "https://login.microsoftonline.com/common/oauth2/v2.0/logout", http.StatusSeeOther)
	}
	_ = signOut
}
