package cost_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// An app's tokens for thousands of resources of one tenant are one record: whether they come many at once, as after
// Redis was away, or by and by, another instance reads every one, and forgetting them leaves none.
func TestRecordOfManyResources(t *testing.T) { recordOfResources(t, 5_000, 100) }

// 10,000 of usual size are more than 16 MB.
func TestLongRecordOfTenThousandResources(t *testing.T) {
	long.Test(t)
	recordOfResources(t, 10_000, 2_000)
}

func recordOfResources(t *testing.T, n, size int) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	key := harness.ClientID + "_" + harness.Tenant + "_AppTokenCache"
	secrets, texts := map[string]string{}, make([]string, n)
	for i := range texts {
		secrets[resource(i)] = random(size)
		texts[i] = entry("", harness.Tenant, "AccessToken", resource(i), secrets[resource(i)])
	}
	first := w.Instance()
	from := 0
	for _, to := range []int{n * 9 / 10, n} {
		part := document(`{"AccessToken":{` + strings.Join(texts[from:to], ",") + `}}`) // a client of its own
		harness.Succeeds(t, first.Tokens.Export(ctx, &part, cache.ExportHints{PartitionKey: key}))
		from = to
	}
	found := func(i *harness.Instance) []msaldoc.Entry {
		var d document
		harness.Succeeds(t, i.Tokens.Replace(ctx, &d, cache.ReplaceHints{PartitionKey: key}))
		entries, err := msaldoc.Parse(d)
		harness.Succeeds(t, err)
		return entries
	}
	second := w.Instance()
	right := 0
	for _, e := range found(second) {
		if e.Section == msaldoc.SectionAccessToken && e.Secret == secrets[e.Target] {
			right++
		}
	}
	if right != n {
		t.Errorf("another instance finds %d of %d tokens", right, n)
	}
	harness.Succeeds(t, second.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant))
	if keys := w.KeysLike(":tokens"); len(keys) > 0 {
		t.Errorf("%d records are left", len(keys))
	}
	if left := found(w.Instance()); len(left) > 0 {
		t.Errorf("%d entries are found after all were forgotten", len(left))
	}
}

// With the gate alone each resource's token has a key of its own: another instance finds every one, and forgetting them
// leaves none.
func TestAnswersForManyResources(t *testing.T) { answersForResources(t, 300) }

func TestLongAnswersForTenThousandResources(t *testing.T) {
	long.Test(t)
	answersForResources(t, 10_000)
}

func answersForResources(t *testing.T, n int) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	ask := func(i *harness.Instance, base http.RoundTripper) []string {
		t.Helper()
		given := make([]string, n)
		if errs := harness.Parallel(8, func(g int) error {
			for r := g; r < n; r += 8 {
				var err error
				if given[r], err = tokenFor(i.Tokens, base, r); err != nil {
					return err
				}
			}
			return nil
		}); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		return given
	}
	first := ask(w.Instance(), answering{})
	w.Settled()
	second := w.Instance()
	for r, token := range ask(second, unreachable{}) {
		if token != first[r] {
			t.Fatalf("another instance has another token for resource %d", r)
		}
	}
	harness.Succeeds(t, second.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant))
	if keys := w.KeysLike(":response"); len(keys) > 0 {
		t.Errorf("%d answers of %d are left", len(keys), n)
	}
	for r, token := range ask(w.Instance(), answering{}) {
		if token == first[r] {
			t.Fatalf("a forgotten token is given for resource %d", r)
		}
	}
}

// tokenFor is what the gate gives for an app's request.
func tokenFor(tokens *msalredis.Cache, base http.RoundTripper, r int) (string, error) {
	resp, err := (&http.Client{Transport: tokens.Transport(base)}).PostForm(
		"https://login.microsoftonline.com/"+harness.Tenant+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {harness.ClientID}, "client_secret": {"s"},
			"scope": {resource(r)},
		})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("no token: status %d, %w", resp.StatusCode, err)
	}
	return answer.Token, nil
}

// unreachable is a base transport for what must be answered without Entra ID.
type unreachable struct{}

func (unreachable) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Body.Close()
	return nil, errors.New("asked Entra ID")
}
