package bench

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

const removalAmongMany = "removal of an account, 60,000 answers of others known"

// BenchmarkRemoval is a removal in a process whose gate knows no answer, or 60,000 of others, or beside those 1,000
// clients and what they have, and 8,000 assertions: what it forgets here and its script in Redis. An instance that
// hears of it forgets the same, without the script.
func BenchmarkRemoval(b *testing.B) {
	const answers, clients, assertions = 60_000, 1_000, 8_000
	w := newWorld(b)
	var turns []turn
	for _, c := range []struct {
		name                         string
		answers, clients, assertions int
	}{
		{name: library.name + ", none known"},
		{library.name, answers, 0, 0},
		{library.name + ", 1,000 clients and 8,000 assertions too", answers, clients, assertions},
	} {
		// Answers are short, and LocalBytes is what so many of them take.
		entra := &instant{base: w.entra.Transport()}
		short := []byte(`{"token_type":"Bearer","expires_in":3599,"access_token":"` + strings.Repeat("t", 64) + `"}`)
		entra.answer.Store(&short)
		// With a prefix of its own: none hears the others.
		p := w.with(b, configured(c.name, encrypted, &msalredis.Options{
			Prefix: fmt.Sprint("apart", len(turns)), LocalBytes: 256 << 20,
		}), entra)
		authority := w.entra.Authority(tenantName(0))
		atOnce(b, c.answers, func(i int) error { return p.post(authority, credentialFor(resource(i))) })
		apps := make([]confidential.Client, c.clients)
		atOnce(b, c.clients, func(i int) (err error) {
			if apps[i], err = p.newApp(authority); err == nil {
				_, err = apps[i].AcquireTokenByCredential(context.Background(), scopes(resource(0)))
			}
			return err
		})
		atOnce(b, c.assertions, func(i int) error { return p.post(authority, onBehalfOf(objectID(1_000_000+i))) })
		removed, tokens := 0, p.accessor.(*msalredis.Cache)
		turns = append(turns, turn{name: c.name, take: func() []float64 {
			_ = apps // they live on
			return timedCalls(b, 1, func() error {
				removed++
				return tokens.RemoveAccount(context.Background(), objectID(removed)+"."+user.TenantID)
			})
		}})
	}
	inTurns(b, removalAmongMany, 0, turns...)
}

// atOnce makes n calls, by 32 goroutines.
func atOnce(b *testing.B, n int, call func(i int) error) {
	const asking = 32
	var wg sync.WaitGroup
	for g := range asking {
		wg.Go(func() {
			for i := g; i < n; i += asking {
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// credentialFor is an app's token request.
func credentialFor(scope string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
}

// onBehalfOf is a token request on behalf of a user.
func onBehalfOf(oid string) url.Values {
	claims := fmt.Sprintf(`{"oid":%q,"tid":%q}`, oid, user.TenantID)
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "requested_token_use": {"on_behalf_of"},
		"assertion": {"e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"}, "scope": {userScope},
	}
}

// post makes a token request as MSAL does, without MSAL.
func (p process) post(authority string, form url.Values) error {
	form.Set("client_id", clientID)
	form.Set("client_secret", secret)
	resp, err := p.http.PostForm(strings.TrimSuffix(authority, "/")+"/oauth2/v2.0/token", form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a token request was answered %d: %w", resp.StatusCode, err)
	}
	return nil
}
