package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

func (w *worker) app(tenant string) (confidential.Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	app, ok := w.apps[tenant]
	if !ok {
		var err error
		if app, err = MakeApp("https://login.microsoftonline.com/"+tenant, w.tokens, w.http); err != nil {
			return app, err
		}
		w.apps[tenant] = app
	}
	return app, nil
}

func (w *worker) do(o Order) Outcome {
	if o.Tenant == "" {
		o.Tenant = Tenant
	}
	n := max(1, o.N)
	sets := [][]string{o.Scopes}
	if o.Split {
		sets = nil
		for _, s := range o.Scopes {
			sets = append(sets, []string{s})
		}
	}
	out := Outcome{Now: time.Now().Unix()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range n {
		for _, scopes := range sets {
			wg.Go(func() {
				<-start
				ctx := context.Background()
				if o.Timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, o.Timeout)
					defer cancel()
				}
				for range max(1, o.Calls) {
					begun := time.Now()
					token, err := w.acquire(ctx, o, scopes)
					took := time.Since(begun)
					mu.Lock()
					out.Slowest = max(out.Slowest, took)
					if err != nil {
						out.Errors = append(out.Errors, err.Error())
					} else {
						out.Tokens = append(out.Tokens, HashOf(token))
					}
					mu.Unlock()
				}
			})
		}
	}
	close(start)
	wg.Wait()
	return out
}

func (w *worker) acquire(ctx context.Context, o Order, scopes []string) (string, error) {
	if o.Op == "azsecret" || o.Op == "azcert" {
		cred, err := w.credential(o)
		if err != nil {
			return "", err
		}
		token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: scopes})
		return token.Token, err
	}
	if o.Op == "signout" {
		return "", w.tokens.RemoveAccount(ctx, o.Account)
	}
	app, err := w.app(o.Tenant)
	if err != nil {
		return "", err
	}
	var result confidential.AuthResult
	switch o.Op {
	case "app":
		result, err = app.AcquireTokenByCredential(ctx, scopes)
	case "silent":
		account := o.Account
		if o.Accounts > 0 {
			account = ManyAccount(rand.N(o.Accounts))
		}
		result, err = Silent(ctx, app, account, scopes...)
	case "obo":
		result, err = app.AcquireTokenOnBehalfOf(ctx, o.Assertion, scopes)
	default:
		err = fmt.Errorf("no such order: %s", o.Op)
	}
	return result.AccessToken, err
}

// credential is one Azure SDK credential per kind, with the gate as its transport and no accessor.
func (w *worker) credential(o Order) (azcore.TokenCredential, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cred, ok := w.creds[o.Op]; ok {
		return cred, nil
	}
	options := azcore.ClientOptions{Transport: w.http}
	var cred azcore.TokenCredential
	var err error
	if o.Op == "azsecret" {
		cred, err = azidentity.NewClientSecretCredential(o.Tenant, ClientID, ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	} else {
		certs, key, perr := azidentity.ParseCertificates([]byte(o.CertPEM), nil)
		if perr != nil {
			return nil, perr
		}
		cred, err = azidentity.NewClientCertificateCredential(o.Tenant, ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options})
	}
	if err == nil {
		w.creds[o.Op] = cred
	}
	return cred, err
}
