// Command dataverse reads the accounts of Dataverse environments, page by page, and keeps to their service protection
// limits.
//
//	go run ./examples/dataverse
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/apiclient"
	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dataverse:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "dataverse"}

// run is the service.
func run(ctx context.Context, out io.Writer) error {
	// The process's tokens, shared with all other instances.
	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer rdb.Close()
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	tokens, err := msalredis.New(rdb, sealer, &options)
	if err != nil {
		return err
	}
	defer tokens.Close()

	// The app: one credential for all environments.
	secret, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	cred, err := azcred.New("https://login.microsoftonline.com/"+os.Getenv("AZURE_TENANT_ID"),
		os.Getenv("AZURE_CLIENT_ID"), secret, tokens, nil)
	if err != nil {
		return err
	}

	// Each environment is a resource of its own: a client, made once, whose tokens have the environment's scope.
	for _, url := range strings.Split(os.Getenv("DATAVERSE_URL"), ",") {
		client, err := apiclient.New(url, cred, nil)
		if err != nil {
			return fmt.Errorf("DATAVERSE_URL: %w", err)
		}
		e := &environment{url: strings.TrimSuffix(url, "/"), client: client}
		n := 0
		for _, err := range e.accounts(ctx) {
			if err != nil {
				return err
			}
			n++
		}
		fmt.Fprintf(out, "%s: accounts: %d, pages: %d, requests left in this window: %s\n", e.url, n, e.pages, e.left)
	}
	return nil
}

// environment is one of Dataverse.
type environment struct {
	url    string
	client *http.Client
	pages  int
	left   string // requests, of the 6,000 in five minutes that each of an environment's web servers serves a user
}

type account struct {
	Name   string `json:"name"`
	Number string `json:"accountnumber"`
}

// accounts are all of the environment, of which a page is in memory at a time.
func (e *environment) accounts(ctx context.Context) iter.Seq2[account, error] {
	return func(yield func(account, error) bool) {
		for next := e.url + "/api/data/v9.2/accounts?$select=name,accountnumber"; next != ""; {
			var page struct {
				Value []account
				Next  string `json:"@odata.nextLink"`
			}
			if err := e.get(ctx, next, &page); err != nil {
				yield(account{}, err)
				return
			}
			e.pages++
			for _, a := range page.Value {
				if !yield(a, nil) {
					return
				}
			}
			next = page.Next // to be used as it is
		}
	}
}

// get reads a document. The client has waited out what 429 asked for, within ctx, before an error gets here.
func (e *environment) get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OData-MaxVersion", "4.0")
	req.Header.Set("OData-Version", "4.0")
	req.Header.Set("Prefer", "odata.maxpagesize=500") // on every page; the most is 5,000
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	e.left = resp.Header.Get("x-ms-ratelimit-burst-remaining-xrm-requests")
	body := http.MaxBytesReader(nil, resp.Body, 64<<20)
	if resp.StatusCode != http.StatusOK {
		var problem struct {
			Error struct{ Code, Message string }
		}
		_ = json.NewDecoder(body).Decode(&problem) // a gateway's answer is no JSON
		return fmt.Errorf("%s answers %s (Retry-After: %q): %s %s",
			e.url, resp.Status, resp.Header.Get("Retry-After"), problem.Error.Code, problem.Error.Message)
	}
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("the answer of %s: %w", e.url, err)
	}
	return nil
}
