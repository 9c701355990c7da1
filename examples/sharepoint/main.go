// Command sharepoint reads the items of a SharePoint Online list twice: by Microsoft Graph, and by SharePoint's own
// REST API, which takes tokens only of apps with a certificate.
//
//	go run ./examples/sharepoint
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
		fmt.Fprintln(os.Stderr, "sharepoint:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "sharepoint"}

const graph = "https://graph.microsoft.com"

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

	// The app proves itself with a certificate. Each instance signs with its own copy of the key, and they share tokens.
	certificate, err := readCertificate(os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %w", err)
	}
	cred, err := azcred.New("https://login.microsoftonline.com/"+os.Getenv("AZURE_TENANT_ID"),
		os.Getenv("AZURE_CLIENT_ID"), certificate, tokens, nil)
	if err != nil {
		return err
	}

	// Graph and SharePoint are two resources: two clients, made once, two tokens, and neither API sees the other's.
	site, err := url.Parse(strings.TrimSuffix(os.Getenv("SHAREPOINT_SITE_URL"), "/"))
	if err != nil || site.Host == "" {
		return errors.New("SHAREPOINT_SITE_URL: not a URL such as https://contoso.sharepoint.com/sites/sales")
	}
	list := os.Getenv("SHAREPOINT_LIST")
	toGraph, err := apiclient.New(graph, cred, nil)
	if err != nil {
		return err
	}
	toSharePoint, err := apiclient.New("https://"+site.Host, cred, nil)
	if err != nil {
		return fmt.Errorf("SHAREPOINT_SITE_URL: %w", err)
	}

	titles, err := byGraph(ctx, toGraph, site, list)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Graph: %d items of %s\n", len(titles), list)
	titles, err = bySharePoint(ctx, toSharePoint, site, list)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "SharePoint: %d items of %s\n", len(titles), list)
	return nil
}

// readCertificate reads a PEM file with the certificate and its RSA key.
func readCertificate(path string) (confidential.Credential, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return confidential.Credential{}, err
	}
	certs, key, err := confidential.CertFromPEM(text, "")
	if err != nil {
		return confidential.Credential{}, err
	}
	return confidential.NewCredFromCert(certs, key)
}

// byGraph is the titles of a list's items. Graph's token may be revoked at any time (continuous access evaluation); the
// client answers that challenge.
func byGraph(ctx context.Context, client *http.Client, site *url.URL, list string) (titles []string, err error) {
	var found struct{ ID string }
	if err := get(ctx, client, graph+"/v1.0/sites/"+site.Host+":"+site.EscapedPath(), &found); err != nil {
		return nil, err
	}
	next := graph + "/v1.0/sites/" + found.ID + "/lists/" + url.PathEscape(list) + "/items?$expand=fields($select=Title)" +
		"&$top=200"
	for next != "" {
		var page struct {
			Value []struct{ Fields struct{ Title string } }
			Next  string `json:"@odata.nextLink"`
		}
		if err := get(ctx, client, next, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Value {
			titles = append(titles, item.Fields.Title)
		}
		next = page.Next
	}
	return titles, nil
}

// bySharePoint is the same. The next page's name has no @ there.
func bySharePoint(ctx context.Context, client *http.Client, site *url.URL, list string) (titles []string, err error) {
	quoted := url.PathEscape("'" + strings.ReplaceAll(list, "'", "''") + "'")
	next := site.String() + "/_api/web/lists/getbytitle(" + quoted + ")/items?$select=Title&$top=200"
	for next != "" {
		var page struct {
			Value []struct{ Title string }
			Next  string `json:"odata.nextLink"`
		}
		if err := get(ctx, client, next, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Value {
			titles = append(titles, item.Title)
		}
		next = page.Next
	}
	return titles, nil
}

// get reads a document. The client has waited out what 429 asked for, within ctx, before an error gets here.
func get(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json;odata=nometadata")
	// SharePoint throttles those first who do not say who they are
	req.Header.Set("User-Agent", "NONISV|Contoso|ListReader/1.0")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := http.MaxBytesReader(nil, resp.Body, 64<<20)
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 500))
		return fmt.Errorf("%s answers %s (Retry-After: %q): %s", req.URL.Host, resp.Status, resp.Header.Get("Retry-After"),
			text)
	}
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("the answer of %s: %w", req.URL.Host, err)
	}
	return nil
}
