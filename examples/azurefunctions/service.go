package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// service is what an instance makes once, at its start, and all invocations use: one cache, one MSAL client, one HTTP
// client. A client made per invocation would use up the instance's outbound connections (SNAT ports).
type service struct {
	rdb    redis.UniversalClient
	tokens *msalredis.Cache
	app    confidential.Client
	api    *http.Client
	sent   atomic.Int64 // token requests of this instance

	dataverse, graph resource
}

// resource is an API and the scope of its tokens.
type resource struct{ url, scope string }

func resourceAt(url string) resource {
	url = strings.TrimSuffix(url, "/")
	return resource{url, url + "/.default"}
}

// settings are those an instance does not start without.
var settings = []string{"REDIS_URL", "TOKEN_CACHE_KEYS", "AZURE_TENANT_ID", "AZURE_CLIENT_ID",
	"AZURE_CLIENT_SECRET", "DATAVERSE_URL"}

// options are the Cache's.
var options msalredis.Options

// newService reads the app settings, which the host hands to its handler as environment.
func newService(env func(string) string) (*service, error) {
	for _, name := range settings {
		if env(name) == "" {
			return nil, fmt.Errorf("the app setting %s is missing", name)
		}
	}
	keys, err := serializer.ParseKeys(env("TOKEN_CACHE_KEYS"))
	if err != nil {
		return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	cred, err := confidential.NewCredFromSecret(env("AZURE_CLIENT_SECRET"))
	if err != nil {
		return nil, fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	s := &service{dataverse: resourceAt(env("DATAVERSE_URL")), graph: resourceAt("https://graph.microsoft.com")}
	if url := env("GRAPH_URL"); url != "" { // a national cloud's
		s.graph = resourceAt(url)
	}
	// Open asks Redis nothing, so a cold start waits for nothing; one address is enough for a cluster.
	if s.rdb, err = connect.Open(env("REDIS_URL"), nil); err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	if s.tokens, err = msalredis.New(s.rdb, sealer, &options); err != nil {
		s.rdb.Close()
		return nil, err
	}
	// Only to count what this instance sends: NewConfidential has the gate by itself.
	gate := &http.Client{Transport: s.tokens.Transport(counter{http.DefaultTransport, &s.sent})}
	s.app, err = s.tokens.NewConfidential("https://login.microsoftonline.com/"+env("AZURE_TENANT_ID"),
		env("AZURE_CLIENT_ID"), cred, confidential.WithHTTPClient(gate))
	if err != nil {
		s.close()
		return nil, err
	}
	// An instance of the Consumption plan has 600 active connections, of which one API gets a part.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = 100, 100
	s.api = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return s, nil
}

// close is not reached where the host kills its handler, and need not be.
func (s *service) close() {
	_ = s.tokens.Close()
	_ = s.rdb.Close()
}

// get reads a resource's answer, JSON, into v.
func (s *service) get(ctx context.Context, r resource, path string, v any) error {
	token, err := s.app.AcquireTokenByCredential(ctx, []string{r.scope})
	if err != nil {
		return fmt.Errorf("a token for %s: %w", r.url, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := s.api.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
		return fmt.Errorf("%s answers %s", r.url, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("the answer of %s: %w", r.url, err)
	}
	return nil
}

// counter counts the token requests that pass the gate.
type counter struct {
	base http.RoundTripper
	n    *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		c.n.Add(1)
	}
	return c.base.RoundTrip(r)
}
