package accessor

import (
	"context"
	"errors"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
)

// refusing is a manager like MSAL's of on-behalf-of tokens, which can only be emptied.
type refusing struct{ _ int }

func (*refusing) Marshal() ([]byte, error) { return []byte("{}"), nil }
func (*refusing) Unmarshal(b []byte) error {
	if len(b) > 0 {
		return errors.New("refused")
	}
	return nil
}

// marshalled is a manager like MSAL's others that counts how often it is marshalled.
type marshalled struct{ times int }

func (m *marshalled) Marshal() ([]byte, error) { m.times++; return []byte("{}"), nil }
func (*marshalled) Unmarshal([]byte) error     { return nil }

// Under the key of an assertion MSAL exports a manager that it has not written to, and nothing is done with it, however
// much is in it. Under other keys, and where MSAL has looked for an assertion's tokens in that manager, it is read.
func TestAssertionsExportReadsNoManager(t *testing.T) {
	const assertion = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="
	ctx, gateGave := context.Background(), func(a *Accessor) { a.o.OnBehalfOf.Gave(assertion, nil, 1) }
	for name, test := range map[string]struct {
		before func(*Accessor)
		in     interface {
			cache.Marshaler
			cache.Unmarshaler
		} // where MSAL has looked
		key  string
		read bool
	}{
		"an assertion":                         {in: &refusing{}, key: assertion},
		"an assertion, of the gate too":        {in: &refusing{}, key: assertion, before: gateGave},
		"an assertion's among the others":      {in: &marshalled{}, key: assertion, read: true, before: gateGave},
		"a user, after an assertion's":         {in: &refusing{}, key: "user.tenant", read: true},
		"all accounts, after an assertion's":   {in: &refusing{}, key: "", read: true},
		"an app's token, after an assertion's": {in: &refusing{}, key: "c_t_AppTokenCache", read: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, exported := newAccessor(t), &marshalled{}
			if test.before != nil {
				test.before(a)
			}
			if err := a.Replace(ctx, test.in, cache.ReplaceHints{PartitionKey: assertion}); err != nil {
				t.Fatal(err)
			}
			err := a.Export(ctx, exported, cache.ExportHints{PartitionKey: test.key})
			if err != nil && !(test.key == "" && errors.Is(err, errNothingRemoved)) {
				t.Error(err)
			}
			if got := exported.times > 0; got != test.read {
				t.Errorf("read: %v, want %v", got, test.read)
			}
		})
	}
}
