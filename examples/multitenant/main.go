// Command multitenant is a daemon that works for hundreds of tenants, each of which has consented to its app. Several
// instances of it share their tokens: a tenant's token costs one token request.
//
//	go run ./examples/multitenant
//	go run ./examples/multitenant -cloud usgov
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/apiclient"
	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

var (
	instances = flag.Int("instances", 2, "how many instances run at once; in production, 1 on each\nmachine")
	cloudName = flag.String("cloud", "public", "public, usgov or china: whose Entra ID and Graph are asked\n")
	region    = flag.String("region", "",
		"Azure `region` whose token service is asked, as in westeurope;\nMicrosoft's own apps only")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "multitenant:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "multitenant"}

// cloud is where Entra ID and Graph are (https://learn.microsoft.com/graph/deployments).
type cloud struct{ authority, graph string }

var clouds = map[string]cloud{
	"public": {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
	"usgov":  {"https://login.microsoftonline.us", "https://graph.microsoft.us"},
	"china":  {"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"},
}

// daemon is one instance.
type daemon struct {
	rdb         redis.UniversalClient
	tokens      *msalredis.Cache
	cred        *azcred.Credential
	connections http.RoundTripper
	graph       string
}

// newDaemon is what an instance does at its start.
func newDaemon() (*daemon, error) {
	in, ok := clouds[*cloudName]
	if !ok {
		return nil, fmt.Errorf("-cloud is %q: it must be public, usgov or china", *cloudName)
	}
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	secret, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return nil, fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	d := &daemon{graph: in.graph}
	if d.rdb, err = connect.Open(os.Getenv("REDIS_URL"), nil); err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	if d.tokens, err = msalredis.New(d.rdb, sealer, &options); err != nil {
		d.rdb.Close()
		return nil, err
	}
	var msal []confidential.Option
	if *region != "" {
		msal = append(msal, confidential.WithAzureRegion(*region))
	}
	// One credential serves all tenants, by MSAL clients that it spreads them over.
	if d.cred, err = azcred.New(in.authority+"/organizations", os.Getenv("AZURE_CLIENT_ID"), secret, d.tokens,
		&azcred.Options{AdditionallyAllowedTenants: []string{"*"}, MSAL: msal}); err != nil {
		d.close()
		return nil, err
	}
	d.connections = apiclient.NewTransport(64)
	return d, nil
}

func (d *daemon) close() {
	_ = d.tokens.Close()
	_ = d.rdb.Close()
}

// round works for every tenant, 32 at a time. That one refuses, the others do not notice; its error is at its place.
func (d *daemon) round(ctx context.Context, tenants []string) []error {
	errs := make([]error, len(tenants))
	var some errgroup.Group
	some.SetLimit(32)
	for i, tenant := range tenants {
		some.Go(func() error {
			_, errs[i] = d.organization(ctx, tenant)
			return nil
		})
	}
	_ = some.Wait() // nil: see errs
	return errs
}

// organization is a tenant's name.
func (d *daemon) organization(ctx context.Context, tenant string) (string, error) {
	client, err := apiclient.New(d.graph, d.cred, &apiclient.Options{TenantID: tenant, Transport: d.connections})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.graph+"/v1.0/organization?$select=id,displayName", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var page struct {
		Value []struct{ ID, DisplayName string }
		Error struct{ Code, Message string }
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&page); err != nil ||
		resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s: %s %s", d.graph, resp.Status, page.Error.Code,
			cmp.Or(page.Error.Message, "no organization"))
	}
	if len(page.Value) != 1 {
		return "", fmt.Errorf("%s names %d organizations for one tenant", d.graph, len(page.Value))
	}
	return page.Value[0].DisplayName, nil
}

var code = regexp.MustCompile(`AADSTS\d+`)

// run runs instances side by side, as on machines of their own: what they share is in Redis.
func run(ctx context.Context, out io.Writer) error {
	if *instances < 1 {
		return fmt.Errorf("-instances is %d: it must be at least 1", *instances)
	}
	tenants := strings.FieldsFunc(os.Getenv("AZURE_TENANT_IDS"), func(r rune) bool {
		return r == ',' || r == ' ' || r == '\n'
	})
	lines := make([]string, *instances)
	all, ctx := errgroup.WithContext(ctx)
	for i := range lines {
		d, err := newDaemon()
		if err != nil {
			return err
		}
		defer d.close()
		all.Go(func() error {
			for round := range 2 {
				done := len(tenants)
				for t, err := range d.round(ctx, tenants) {
					if err != nil {
						done--
						// A real daemon logs the error, once for each tenant. AADSTS700016 and 7000229: it has removed the app.
						lines[i] += fmt.Sprintf("instance %d, tenant %s: %s\n", i+1, tenants[t],
							cmp.Or(code.FindString(err.Error()), err.Error()))
					}
				}
				lines[i] += fmt.Sprintf("instance %d, round %d: %d of %d tenants done\n", i+1, round+1, done, len(tenants))
			}
			return ctx.Err()
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	_, err := io.WriteString(out, strings.Join(lines, ""))
	return err
}
