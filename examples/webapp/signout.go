package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"github.com/redis/go-redis/v9"
)

// signOut signs the user out on every instance and in every browser.
func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	var err error
	if account := a.sessions.GetString(r.Context(), keyAccount); account != "" {
		// The mark first: from then on no session of the user is good. The tokens go with a tombstone, against a refresh
		// that is under way; if Redis does not take that now, the cache tries until it does.
		err = errors.Join(
			a.rdb.Set(r.Context(), markKey(account), rand.Text(), a.sessions.Lifetime).Err(),
			a.tokens.cache.RemoveAccount(r.Context(), account))
	}
	if err := errors.Join(err, a.sessions.Destroy(r.Context())); err != nil {
		a.fail(w, r, err)
		return
	}
	// Entra ID has a session of its own with the browser.
	logout := login + "/" + a.tenant + "/oauth2/v2.0/logout?" + url.Values{
		"post_logout_redirect_uri": {a.publicURL + "/"},
	}.Encode()
	http.Redirect(w, r, logout, http.StatusSeeOther)
}

// mark is what the user's last sign-out has left, "" if there was none in a session's lifetime. A session holds the one
// that it found at its beginning, and ends when there is another. Without it, sessions in other browsers would wake up
// with the user's next sign-in, and a request under way could store the session that a sign-out has destroyed.
func (a *app) mark(ctx context.Context, account string) (string, error) {
	mark, err := a.rdb.Get(ctx, markKey(account)).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return mark, err
}

func markKey(account string) string {
	sum := sha256.Sum256([]byte(account))
	return "webapp:signout:" + hex.EncodeToString(sum[:])
}

// token is an access token for the user of the session. Where that is errSignIn, the session is over.
func (a *app) token(ctx context.Context) (string, error) {
	account := a.sessions.GetString(ctx, keyAccount)
	if account == "" {
		return "", errSignIn
	}
	mark, err := a.mark(ctx, account)
	if err != nil {
		return "", err
	}
	token := ""
	if mark != "" && mark != a.sessions.GetString(ctx, keyMark) {
		err = errSignIn
	} else {
		token, err = a.tokens.silent(ctx, account)
	}
	if errors.Is(err, errSignIn) {
		return "", errors.Join(err, a.sessions.Destroy(ctx))
	}
	return token, err
}
