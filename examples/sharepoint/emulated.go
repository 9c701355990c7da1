package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "sharepoint",
	Help: `Reads the items of a SharePoint Online list by Graph and by SharePoint's REST
API. Entra ID, Redis and both APIs are emulated, unless the environment names
real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_CERTIFICATE_PATH
                       the app registration, and a PEM file with its certificate
                       and RSA key
  SHAREPOINT_SITE_URL  as in https://contoso.sharepoint.com/sites/sales
  SHAREPOINT_LIST      the title of a list
  REDIS_URL            as in
                       rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS     the sealing keys, the same on all instances: 2026a: and
                       the output of openssl rand -base64 32`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_CERTIFICATE_PATH", "SHAREPOINT_SITE_URL", "SHAREPOINT_LIST"},
	Emulate:  emulate,
	Run:      func(ctx context.Context, out io.Writer, _ *standin.World) error { return run(ctx, out) },
	Cache:    &options,
}

const (
	graphHost, sharePointHost = "graph.microsoft.com", "contoso.sharepoint.com"
	siteID                    = sharePointHost +
		",0b1d5a1e-6a5c-4b6e-9d1c-5f3a3f0c7a11,4d2e9f60-7f43-4a0b-8a53-0c9f6f5d2b22"
)

// emulate stands up a site with one list, behind Graph and behind SharePoint. Graph revokes the token after the first
// page; SharePoint asks for a pause after the second.
func emulate(w *standin.World) error {
	if err := register(w); err != nil {
		return err
	}
	w.Set("SHAREPOINT_SITE_URL", "https://"+sharePointHost+"/sites/sales")
	w.Set("SHAREPOINT_LIST", "Leads")
	titles := make([]string, 500)
	for i := range titles {
		titles[i] = fmt.Sprint("Lead ", i+1)
	}

	byGraph := http.NewServeMux()
	byGraph.HandleFunc("GET /v1.0/sites/contoso.sharepoint.com:/sites/sales",
		func(out http.ResponseWriter, _ *http.Request) {
			standin.JSON(out, map[string]string{"id": siteID, "displayName": "Sales"})
		})
	byGraph.HandleFunc("GET /v1.0/sites/{site}/lists/Leads/items", func(out http.ResponseWriter, r *http.Request) {
		part, next := standin.Page(r, titles, 5000)
		items := []any{}
		for _, title := range part {
			items = append(items, map[string]any{"fields": map[string]string{"Title": title}})
		}
		page := map[string]any{"value": items}
		if next != "" {
			page["@odata.nextLink"] = next
		}
		standin.JSON(out, page)
	})

	limit := &standin.Limit{Requests: 2, Pause: time.Second}
	bySharePoint := http.NewServeMux()
	bySharePoint.HandleFunc("GET /sites/sales/_api/web/lists/getbytitle('Leads')/items",
		func(out http.ResponseWriter, r *http.Request) {
			// https://learn.microsoft.com/sharepoint/dev/general-development/how-to-avoid-getting-throttled-or-blocked-in-sharepoint-online
			left, wait := limit.Take()
			out.Header().Set("RateLimit-Limit", strconv.Itoa(1200))
			out.Header().Set("RateLimit-Remaining", strconv.Itoa(left))
			if wait > 0 {
				out.Header().Set("RateLimit-Reset", standin.Seconds(wait))
				out.Header().Set("Retry-After", standin.Seconds(wait))
				standin.Error(out, http.StatusTooManyRequests, "activityLimitReached", "The request has been throttled")
				return
			}
			part, next := standin.Page(r, titles, 5000)
			items := []any{}
			for _, title := range part {
				items = append(items, map[string]string{"Title": title})
			}
			page := map[string]any{"value": items}
			if next != "" {
				page["odata.nextLink"] = next
			}
			standin.JSON(out, page)
		})
	return w.Serve(map[string]http.Handler{
		graphHost: standin.Guard{Entra: w.Entra, Audience: graph, RevokeAfter: 2}.Wrap(byGraph),
		sharePointHost: standin.Guard{Entra: w.Entra, Audience: "https://" + sharePointHost,
			CertificateOnly: true}.Wrap(bySharePoint),
	})
}

// register gives the app a certificate, in place of its secret, and writes it to a file as an operator does.
func register(w *standin.World) error {
	folder, err := os.MkdirTemp("", "sharepoint-")
	if err != nil {
		return err
	}
	w.OnClose(func() { _ = os.RemoveAll(folder) })
	cert, text, err := newCertificate()
	if err != nil {
		return err
	}
	path := filepath.Join(folder, "app.pem")
	w.Set("AZURE_CLIENT_CERTIFICATE_PATH", path)
	w.Entra.AddApp(entratest.App{ClientID: w.Getenv("AZURE_CLIENT_ID"), Certificate: cert})
	return os.WriteFile(path, text, 0o600)
}

// newCertificate is what openssl req -x509 -newkey rsa:2048 makes: a certificate, and PEM of it and its key.
func newCertificate() (*x509.Certificate, []byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sharepoint example"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}
