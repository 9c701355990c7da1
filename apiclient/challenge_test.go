package apiclient_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/apiclient"
)

func TestClaimsOfAChallenge(t *testing.T) {
	t.Parallel()
	// Its base64 has characters that the two alphabets write differently, and padding.
	const doc = `{"access_token":{"acrs":{"essential":true,"value":"c1?>~"}}}`
	std, url := base64.StdEncoding.EncodeToString([]byte(doc)), base64.RawURLEncoding.EncodeToString([]byte(doc))
	for name, test := range map[string]struct {
		headers []string
		want    string
	}{
		"Graph": {[]string{`Bearer realm="", ` +
			`authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", ` +
			`client_id="00000003-0000-0000-c000-000000000000", ` +
			`errorDescription="Continuous access evaluation resulted in challenge with result: ` +
			`InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp", ` +
			`error="insufficient_claims", claims="` + std + `"`}, doc},
		"other alphabet":     {[]string{`Bearer error="insufficient_claims", claims="` + url + `"`}, doc},
		"no quotes":          {[]string{`bearer error=insufficient_claims,claims=` + std}, doc},
		"white space":        {[]string{"Bearer  error = \"insufficient_claims\" ,\tclaims = \"" + std + "\""}, doc},
		"second in a header": {[]string{`Negotiate YII=, Basic realm="a, \"b\" = c", Bearer claims="` + std + `"`}, doc},
		"second header":      {[]string{`Basic realm="x"`, `Bearer claims="` + std + `"`}, doc},
		"a comma in quotes":  {[]string{`Bearer error_description="claims=x, Basic", claims="` + std + `"`}, doc},
		"another scheme":     {[]string{`PoP claims="` + std + `"`}, ""},
		"no claims":          {[]string{`Bearer error="invalid_token"`}, ""},
		"not base64":         {[]string{`Bearer claims="%%%"`}, ""},
		"not an object":      {[]string{`Bearer claims="` + base64.StdEncoding.EncodeToString([]byte(`[1]`)) + `"`}, ""},
		"an empty object":    {[]string{`Bearer claims="` + base64.StdEncoding.EncodeToString([]byte(`{}`)) + `"`}, ""},
		"cut short":          {[]string{`Bearer claims="` + std[:20]}, ""},
		"nothing":            {nil, ""},
	} {
		if got := apiclient.ClaimsOf(http.Header{"Www-Authenticate": test.headers}); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Whatever a server sends is read to its end, and gives a JSON object or nothing.
func FuzzClaimsOf(f *testing.F) {
	for _, s := range []string{``, `=`, `Bearer`, `Bearer claims=`, `Bearer claims="e30`, `a=b, c d="\`,
		`Bearer claims="eyJhIjoxfQ=="`, "\t ,=,= \""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var object map[string]any
		if c := apiclient.ClaimsOf(http.Header{"Www-Authenticate": {s}}); c != "" &&
			json.Unmarshal([]byte(c), &object) != nil {
			t.Errorf("%q is no object", c)
		}
		// Quoted, it is one parameter and hides no other, wherever it stands.
		quoted := `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(s) + `"`
		for _, h := range []string{`Bearer error_description=` + quoted + `, claims="eyJhIjoxfQ=="`,
			`Basic realm=` + quoted + `, Bearer claims="eyJhIjoxfQ=="`} {
			if c := apiclient.ClaimsOf(http.Header{"Www-Authenticate": {h}}); c != `{"a":1}` {
				t.Errorf("%q asks for claims %q", h, c)
			}
		}
	})
}
