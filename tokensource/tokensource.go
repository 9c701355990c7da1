package tokensource

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"golang.org/x/oauth2"
)

// ForApp is the source of an app's own tokens: client credentials.
//
// As in x/oauth2, ctx is that of every call of Token, because Token takes none: its end is the source's end. The source
// is safe for concurrent use. Its errors are MSAL's, wrapped.
func ForApp(
	ctx context.Context, app confidential.Client, scopes []string, opts ...confidential.AcquireByCredentialOption,
) oauth2.TokenSource {
	return Func(ctx, func(ctx context.Context) (confidential.AuthResult, error) {
		return app.AcquireTokenByCredential(ctx, scopes, opts...)
	})
}

// ForAccount is the source of the tokens of an account that has signed in to a confidential client, on this instance or
// on another. When the account has to sign in again, Token's error says so. Otherwise it is as [ForApp].
func ForAccount(
	ctx context.Context, app confidential.Client, account confidential.Account, scopes []string,
	opts ...confidential.AcquireSilentOption,
) oauth2.TokenSource {
	opts = append([]confidential.AcquireSilentOption{confidential.WithSilentAccount(account)}, opts...)
	return Func(ctx, func(ctx context.Context) (confidential.AuthResult, error) {
		return app.AcquireTokenSilent(ctx, scopes, opts...)
	})
}

// OnBehalfOf is the source of an API's tokens for the user whose access token, assertion, it has received. Make one for
// each request: it costs nothing, and what it brings is shared by assertion. Otherwise it is as [ForApp].
func OnBehalfOf(
	ctx context.Context, app confidential.Client, assertion string, scopes []string,
	opts ...confidential.AcquireOnBehalfOfOption,
) oauth2.TokenSource {
	return Func(ctx, func(ctx context.Context) (confidential.AuthResult, error) {
		return app.AcquireTokenOnBehalfOf(ctx, assertion, scopes, opts...)
	})
}

// Func is the source of what a function acquires: for public clients, whose results are of the same type, and for other
// ways of confidential ones. acquire must be safe for concurrent use. Otherwise it is as [ForApp].
func Func(ctx context.Context, acquire func(context.Context) (confidential.AuthResult, error)) oauth2.TokenSource {
	return source(func() (confidential.AuthResult, error) { return acquire(ctx) })
}

type source func() (confidential.AuthResult, error)

// Token implements oauth2.TokenSource.
func (s source) Token() (*oauth2.Token, error) {
	r, err := s()
	if err != nil {
		return nil, fmt.Errorf("tokensource: %w", err)
	}
	t := &oauth2.Token{AccessToken: r.AccessToken, TokenType: "Bearer", Expiry: askAgain(r, time.Now())}
	return t.WithExtra(map[string]any{
		"expires_at": r.ExpiresOn,
		"scope":      strings.Join(r.GrantedScopes, " "),
	}), nil
}

// atLeast is how long a token is kept by those who keep one. One whose refresh fails stays due, and would be asked for
// at every request; and x/oauth2 takes a token for expired ten seconds early.
const atLeast = 30 * time.Second

func askAgain(r confidential.AuthResult, now time.Time) time.Time {
	due := r.Metadata.RefreshOn
	if due.IsZero() {
		return r.ExpiresOn
	}
	if soonest := now.Add(atLeast); due.Before(soonest) {
		due = soonest
	}
	if due.After(r.ExpiresOn) {
		return r.ExpiresOn
	}
	return due
}
