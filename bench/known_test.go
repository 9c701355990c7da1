package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// seed is a partition of MSAL's: its key, and a document with its tokens. From one that MSAL has made come others, so
// that thousands of tokens are known without thousands of token requests.
type seed struct {
	key      string
	document document
}

// appSeed is an app's token.
func (w *world) appSeed(b *testing.B) seed {
	return w.seed(b, func(app confidential.Client) {
		if _, err := app.AcquireTokenByCredential(context.Background(), scopes(graph)); err != nil {
			b.Fatal(err)
		}
	})
}

// userSeed is what a user has after a sign-in.
func (w *world) userSeed(b *testing.B) seed {
	return w.seed(b, func(app confidential.Client) { w.signIn(b, app) })
}

func (w *world) seed(b *testing.B, acquire func(confidential.Client)) seed {
	r := &recorded{ExportReplace: noop{}}
	acquire(w.app(b, process{accessor: r, http: &http.Client{Transport: w.entra.Transport()}}, tenantName(0)))
	return seed{r.key, r.document}
}

var secretMember = regexp.MustCompile(`("secret":"[^"]{16})([^"]{16})`)

// as is a seed with other names in place of the old ones, in pairs, and secrets of its own.
func (s seed) as(n int, names ...string) seed {
	other := strings.NewReplacer(names...)
	secrets := fmt.Appendf(nil, "${1}%016d", n)
	return seed{other.Replace(s.key), secretMember.ReplaceAll([]byte(other.Replace(string(s.document))), secrets)}
}

// tenant is an app's seed of a tenant, with tokens for so many resources.
func (s seed) tenant(i, resources int) seed {
	all := make([]seed, resources)
	for k := range all {
		all[k] = s.as(i*resources+k, tenantName(0), tenantName(i), graph, resource(k))
	}
	return seed{all[0].key, merged(all)}
}

// resource is the scope of one of many: a Dataverse environment.
func resource(i int) string { return fmt.Sprintf("https://org%05d.crm4.dynamics.com/.default", i) }

// merged is one document with the tokens of all.
func merged(all []seed) document {
	sections := map[string]map[string]json.RawMessage{}
	for _, s := range all {
		var one map[string]map[string]json.RawMessage
		if err := json.Unmarshal(s.document, &one); err != nil {
			panic(err) // MSAL has written it
		}
		for name, entries := range one {
			if sections[name] == nil {
				sections[name] = map[string]json.RawMessage{}
			}
			maps.Copy(sections[name], entries)
		}
	}
	text, err := json.Marshal(sections)
	if err != nil {
		panic(err)
	}
	return text
}

// knowing is a process of a contender that has stored the seeds. One that stores nothing has them in MSAL's memory.
func (w *world) knowing(b *testing.B, c contender, base http.RoundTripper, seeds []seed) process {
	p := w.with(b, c, base)
	switch a := p.accessor.(type) {
	case noop, marshalling:
		p.accessor = &preloaded{ExportReplace: a, document: merged(seeds)}
	default:
		for _, s := range seeds {
			if err := a.Export(context.Background(), &s.document, cache.ExportHints{PartitionKey: s.key}); err != nil {
				b.Fatal(err)
			}
		}
	}
	return p
}

// preloaded hands MSAL a document at first, and then leaves it alone: all is in MSAL's memory.
type preloaded struct {
	cache.ExportReplace
	once     sync.Once
	document document
}

func (p *preloaded) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) (err error) {
	p.once.Do(func() {
		err = u.Unmarshal(p.document)
		p.document = nil
	})
	if err != nil {
		return err
	}
	return p.ExportReplace.Replace(ctx, u, h)
}

// marshalling is the floor of every accessor that stores what is new: MSAL's own Marshal, and nothing done with it.
type marshalling struct{ noop }

func (marshalling) Export(_ context.Context, m cache.Marshaler, _ cache.ExportHints) error {
	_, err := m.Marshal()
	return err
}

var onlyMarshals = contender{"accessor that only marshals", func(_ place, base http.RoundTripper) (process, error) {
	return process{accessor: marshalling{}, http: &http.Client{Transport: base}}, nil
}}
