// Command businesscentral counts the customers of every company in every Business Central environment of a tenant, five
// requests at a time, which is what Business Central serves one app at once.
//
//	go run ./examples/businesscentral
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"golang.org/x/sync/errgroup"

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
		fmt.Fprintln(os.Stderr, "businesscentral:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "businesscentral"}

const service = "https://api.businesscentral.dynamics.com"

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

	// The app, and one client for Business Central: all environments and companies of a tenant are one resource.
	tenant := os.Getenv("AZURE_TENANT_ID")
	secret, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	cred, err := azcred.New("https://login.microsoftonline.com/"+tenant, os.Getenv("AZURE_CLIENT_ID"), secret, tokens, nil)
	if err != nil {
		return err
	}
	client, err := apiclient.New(service, cred, &apiclient.Options{
		// Its 429 has no Retry-After, and its window is five minutes: wait 1, 3, 7, 15, 31 and 63 s.
		RetryDelay: time.Second,
		MaxRetries: 6,
	})
	if err != nil {
		return err
	}
	bc := &businessCentral{client: client, tenant: tenant}

	environments, err := list[struct{ Name, Type string }](ctx, bc,
		service+"/admin/v2.28/applications/businesscentral/environments")
	if err != nil {
		return err
	}
	for _, env := range environments {
		companies, err := list[company](ctx, bc, bc.api(env.Name)+"/companies?$select=id,name")
		if err != nil {
			return err
		}
		customers := make([]int, len(companies))
		five, ctx := errgroup.WithContext(ctx)
		five.SetLimit(5)
		for i, c := range companies {
			five.Go(func() error {
				all, err := list[customer](ctx, bc, bc.api(env.Name)+"/companies("+c.ID+")/customers?$select=id,displayName")
				customers[i] = len(all)
				return err
			})
		}
		if err := five.Wait(); err != nil {
			return err
		}
		for i, c := range companies {
			fmt.Fprintf(out, "%s (%s), %s: %d customers\n", env.Name, env.Type, c.Name, customers[i])
		}
	}
	return nil
}

type businessCentral struct {
	client *http.Client
	tenant string
}

type company struct{ ID, Name string }

type customer struct{ ID, DisplayName string }

// api is where an environment's API is.
func (b *businessCentral) api(environment string) string {
	return service + "/v2.0/" + b.tenant + "/" + url.PathEscape(environment) + "/api/v2.0"
}

// list reads all pages of a list.
func list[T any](ctx context.Context, b *businessCentral, next string) (all []T, err error) {
	for next != "" {
		var page struct {
			Value []T
			Next  string `json:"@odata.nextLink"`
		}
		if err := b.get(ctx, next, &page); err != nil {
			return nil, err
		}
		all, next = append(all, page.Value...), page.Next
	}
	return all, nil
}

// get reads a document. The client has tried again after 429, within ctx, before an error gets here.
func (b *businessCentral) get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Data-Access-Intent", "ReadOnly")  // a replica of the database will do
	req.Header.Set("Prefer", "odata.maxpagesize=300") // the most is 20,000
	resp, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := http.MaxBytesReader(nil, resp.Body, 64<<20)
	if resp.StatusCode != http.StatusOK {
		var problem struct {
			Error struct{ Code, Message string }
		}
		_ = json.NewDecoder(body).Decode(&problem) // a gateway's answer is no JSON
		return fmt.Errorf("%s answers %s: %s %s", req.URL.Path, resp.Status, problem.Error.Code, problem.Error.Message)
	}
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("the answer to %s: %w", req.URL.Path, err)
	}
	return nil
}
