package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "webapp",
	Help: `Serves a web application that signs users in, until Ctrl-C. Entra ID, Redis and
Graph are emulated, unless the environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration
  PUBLIC_URL        the application's address for browsers, if not that of -addr
                    at localhost
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances: 2026a: and the
                    output of openssl rand -base64 32`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"},
	Emulate:  emulate,
	Run:      runEmulated,
	Cache:    &options,
}

// emulate makes the app one that signs in Ada and Grace, and is Graph as far as the app knows it: it tells them who
// they are.
func emulate(w *standin.World) error {
	w.Entra.AddApp(entratest.App{ClientID: w.Getenv("AZURE_CLIENT_ID"), Secret: w.Getenv("AZURE_CLIENT_SECRET"),
		RedirectURIs: []string{"http://localhost/callback"}}) // with any port
	w.Entra.AddUser(entratest.User{Username: "ada@contoso.com", Name: "Ada Lovelace"})
	w.Entra.AddUser(entratest.User{Username: "grace@contoso.com", Name: "Grace Hopper"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.0/me", func(out http.ResponseWriter, r *http.Request) {
		c := standin.CallerOf(r)
		standin.JSON(out, map[string]string{"displayName": c.Name, "userPrincipalName": c.Username})
	})
	return w.Serve(map[string]http.Handler{
		graphHost: standin.Guard{Entra: w.Entra, Audience: "https://" + graphHost}.Wrap(mux),
	})
}

// runEmulated is what browsers come to at the application's address; the application is behind it.
func runEmulated(ctx context.Context, out io.Writer, w *standin.World) error {
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	defer listener.Close()
	publicURL := localhost(listener)
	return run(out, "127.0.0.1:0", publicURL, func(at string) error {
		app, err := url.Parse(at)
		if err != nil {
			return err
		}
		defer serve(listener, front(w, publicURL, app))()
		fmt.Fprintln(out, "Entra ID is emulated: pick any user, no password is asked. Ctrl-C ends.")
		<-ctx.Done()
		return nil
	})
}

// front has the pages of Entra ID beside the application's: the emulator's certificate is one that no browser trusts.
// So whom the application sends there stays here.
func front(w *standin.World, publicURL string, app *url.URL) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", &httputil.ReverseProxy{Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(app)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if page, ok := strings.CutPrefix(r.Header.Get("Location"), login); ok {
				r.Header.Set("Location", publicURL+page)
			}
			return nil
		}})
	entra, _ := url.Parse(w.Entra.URL()) // as made from a host and port
	mux.Handle("GET /{tenant}/oauth2/v2.0/authorize", &httputil.ReverseProxy{
		Transport: w.Network,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(entra) },
	})
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/logout", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, publicURL+"/", http.StatusFound) // the emulator has no session with the browser
	})
	return mux
}
