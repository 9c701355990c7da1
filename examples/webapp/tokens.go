package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// settings are the same for all instances.
type settings struct {
	redisURL, keys           string
	tenant, clientID, secret string
	publicURL                string
}

// login is Entra ID.
const login = "https://login.microsoftonline.com"

// scopes are what the app may do in a user's name.
var scopes = []string{"https://" + graphHost + "/User.Read"}

const graphHost = "graph.microsoft.com"

// errSignIn says that there is no token without the user.
var errSignIn = errors.New("the user must sign in")

// tokens are the users' tokens, shared with the other instances.
type tokens struct {
	cache *msalredis.Cache
	// signIn redeems codes. Its document is small: what it stores is used by the clients of the users.
	signIn confidential.Client
	// users are the clients that the users are spread over: one for all would be slow with hundreds.
	users *clientpool.Shards[confidential.Client]
}

func newTokens(rdb redis.UniversalClient, s settings) (*tokens, error) {
	keys, err := serializer.ParseKeys(s.keys)
	if err != nil {
		return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	cred, err := confidential.NewCredFromSecret(s.secret)
	if err != nil {
		return nil, fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	cache, err := msalredis.New(rdb, sealer, &options)
	if err != nil {
		return nil, err
	}
	client := func() (confidential.Client, error) {
		return cache.NewConfidential(login+"/"+s.tenant, s.clientID, cred)
	}
	t := &tokens{cache: cache}
	if t.users, err = clientpool.NewShards(32, client); err == nil {
		t.signIn, err = client()
	}
	if err != nil {
		_ = cache.Close()
		return nil, err
	}
	return t, nil
}

// silent is an access token for a signed-in user. The error is errSignIn where only the user can help: they signed out,
// on whatever instance, or Entra ID wants to see them. All others pass.
func (t *tokens) silent(ctx context.Context, accountID string) (string, error) {
	client, err := t.users.Get(accountID)
	if err != nil {
		return "", err
	}
	account, err := client.Account(ctx, accountID)
	if err != nil {
		return "", err
	}
	if account.IsZero() {
		return "", errSignIn
	}
	result, err := client.AcquireTokenSilent(ctx, scopes, confidential.WithSilentAccount(account))
	if err == nil {
		return result.AccessToken, nil
	}
	// 400 is the status of invalid_grant and interaction_required, Entra ID's last words on a refresh token.
	var refused msal.CallErr
	if errors.As(err, &refused) && refused.Resp != nil && refused.Resp.StatusCode == http.StatusBadRequest {
		return "", fmt.Errorf("%w: %w", errSignIn, err)
	}
	// A sign-out may have come in between.
	if account, lookup := client.Account(ctx, accountID); lookup == nil && account.IsZero() {
		return "", errSignIn
	}
	return "", err
}

func (t *tokens) close() { _ = t.cache.Close() }
