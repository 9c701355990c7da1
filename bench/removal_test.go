package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

const removalAmongMany = "removal of an account, 60,000 answers of others known"

// BenchmarkRemoval is a removal in a process whose gate knows no answer, or 60,000 of others: what it forgets here and
// its script in Redis. An instance that hears of it forgets the same, without the script.
func BenchmarkRemoval(b *testing.B) {
	const answers, asking = 60_000, 32
	w := newWorld(b)
	var turns []turn
	for _, n := range []int{0, answers} {
		// Answers are short, so that as many fit into what a process keeps by default.
		entra := &instant{base: w.entra.Transport()}
		short := []byte(`{"token_type":"Bearer","expires_in":3599,"access_token":"` + strings.Repeat("t", 64) + `"}`)
		entra.answer.Store(&short)
		c := library
		if n == 0 { // with a prefix of its own: neither hears the other
			c = configured(library.name+", none known", encrypted, &msalredis.Options{Prefix: "apart"})
		}
		p := w.with(b, c, entra)
		var wg sync.WaitGroup
		for g := range asking {
			wg.Go(func() {
				for i := g; i < n; i += asking {
					if err := p.post(w.entra.Authority(tenantName(0)), resource(i)); err != nil {
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
		removed, tokens := 0, p.accessor.(*msalredis.Cache)
		turns = append(turns, turn{name: c.name, take: func() []float64 {
			return timedCalls(b, 1, func() error {
				removed++
				return tokens.RemoveAccount(context.Background(), objectID(removed)+"."+user.TenantID)
			})
		}})
	}
	inTurns(b, removalAmongMany, 0, turns...)
}

// post asks for an app's token as MSAL does, without MSAL.
func (p process) post(authority, scope string) error {
	resp, err := p.http.PostForm(strings.TrimSuffix(authority, "/")+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret}, "scope": {scope},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a token request was answered %d: %w", resp.StatusCode, err)
	}
	return nil
}
