package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

// call plays the users and their client.
func call(ctx context.Context, w *standin.World, url string, out io.Writer) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * people}
	defer transport.CloseIdleConnections()
	c := &caller{http: &http.Client{Transport: transport, Timeout: time.Minute}, url: url, world: w}
	group, all := errgroup.WithContext(ctx)
	group.SetLimit(2 * people)
	for _, username := range everybody()[1:] {
		token, err := c.signIn(username)
		if err != nil {
			return err
		}
		for range calls {
			group.Go(func() error {
				a, err := c.me(all, token)
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("the API answers %d: %s", a.status, a.body)
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(out, "users: %d, calls: %d, on-behalf-of requests: %d\n", people, people*calls,
		w.Entra.Count(entratest.ByGrant(onBehalfOf)))

	token, err := c.signIn(grace)
	if err != nil {
		return err
	}
	for _, says := range []string{"Grace calls", "and again, after Graph has revoked the API's token for her"} {
		a, err := c.me(ctx, token)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %d %s", says, a.status, a.body)
		if a.claims != "" {
			fmt.Fprintf(out, "with the claims %s\n", a.claims)
		}
	}
	if token, err = c.signIn(grace); err != nil { // a client would ask with the claims
		return err
	}
	a, err := c.me(ctx, token)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "and after she has signed in anew: %d %s", a.status, a.body)
	return err
}

// caller is a client of the API, as a single-page application is.
type caller struct {
	http  *http.Client
	url   string
	world *standin.World
}

// signIn is a token for the API.
func (c *caller) signIn(username string) (string, error) {
	return c.world.Entra.UserToken(c.world.Getenv("AZURE_CLIENT_ID"), username, "")
}

type answer struct {
	status         int
	body, instance string
	challenge      string
	claims         string // of the challenge
}

var claimsOf = regexp.MustCompile(`claims="([^"]+)"`)

func (c *caller) me(ctx context.Context, token string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/me", nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, body: string(body), instance: resp.Header.Get("X-Instance"),
		challenge: resp.Header.Get("WWW-Authenticate")}
	if m := claimsOf.FindStringSubmatch(a.challenge); m != nil {
		claims, err := base64.StdEncoding.DecodeString(m[1])
		if err != nil {
			return a, err
		}
		a.claims = string(claims)
	}
	return a, err
}
