package tokenreq

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// meaningless are the parameters in which two requests may differ and still get one answer.
var meaningless = map[string]bool{
	"client_info": true, "client-request-id": true, "return-client-request-id": true, "x-client-sku": true,
	"x-client-ver": true, "x-client-os": true, "x-client-cpu": true, "x-client-current-telemetry": true,
	"x-client-last-telemetry": true,
}

// requestIdentity is whose answer a request gets; ok false: it passes untouched, and gets its own.
func requestIdentity(address string, header http.Header, body string) (rid layout.ID, ok bool) {
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return "", false
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	form, rest, ok := ReadForm(req)
	if !ok {
		return "", false
	}
	r := Understand(rest, form, Lineage{}, time.Now())
	return r.ID, r.ID != ""
}

// meaning is all of a form that counts, in a form in which what means the same is the same. It is written without the
// code that it judges, and knows less of what is equal than that may: of two client assertions it does not decide.
func meaning(t *testing.T, body string) map[string][]string {
	form, err := url.ParseQuery(body)
	if err != nil {
		t.Skip()
	}
	out := map[string][]string{}
	for name, values := range form {
		switch {
		case meaningless[name]:
			continue
		case name == "scope" && len(values) == 1:
			scopes := strings.Fields(strings.ToLower(values[0]))
			slices.Sort(scopes)
			values = slices.Compact(scopes)
		case name == "client_id" && len(values) == 1:
			values = []string{strings.ToLower(values[0])}
		case name == "claims" && len(values) == 1:
			var claims any
			if json.Unmarshal([]byte(values[0]), &claims) == nil {
				if object, ok := claims.(map[string]any); ok {
					if access, ok := object["access_token"].(map[string]any); ok && len(access) == 0 {
						delete(object, "access_token")
					}
					if len(object) == 0 {
						continue // nothing is claimed
					}
				}
				text, _ := json.Marshal(claims)
				values = []string{string(text)}
			}
		case name == "client_assertion" && len(values) == 1 && strings.Count(values[0], ".") == 2:
			values = []string{"a JWT"}
		}
		if len(values) == 1 && values[0] == "" {
			continue // as if it were not there
		}
		out[name] = values
	}
	return out
}

// FuzzIdentity: two requests that differ in anything but what is listed as meaningless do not get one answer.
func FuzzIdentity(f *testing.F) {
	const app = "grant_type=client_credentials&client_id=c&client_secret=s"
	const behalf = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&requested_token_use=on_behalf_of" +
		"&client_id=c&client_secret=s&assertion=a.b.c"
	const here = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
	for _, pair := range [][2]string{
		{app + "&scope=a", app + "&scope=A+a"},
		{app + "&scope=a", app + "&scope=b"},
		{app + "&scope=a&Scope=b", app + "&scope=a&Scope=c"}, // another letter is another parameter
		{app + "&scope=a&Client_Secret=x", app + "&scope=a&Client_Secret=y"},
		{app + "&scope=a&scope=b", app + "&scope=a&scope=c"}, // each of a repeated parameter counts
		{app + "&scope=a&client_secret=x", app + "&scope=a&client_secret=y"},
		{app + "&scope=a&client_id=x", app + "&scope=a&client_id=y"},
		{app + "&scope=a&x=b&x=c", app + "&scope=a&x=b%00c"}, // lists are not joined
		{app + "&scope=a&x=b&y=c", app + "&scope=a&x=b%00y%00c"},
		{app + "&scope=a&x-client-os=linux", app + "&scope=a&x-client-os=windows"},
		{app + "&scope=a&claims=%7B%7D", app + "&scope=a" +
			"&claims=%7B%22access_token%22%3A%7B%22xms_cc%22%3A%7B%22values%22%3A%5B%22CP1%22%5D%7D%7D%7D"},
		{app + "&scope=a&resource=x", app + "&scope=a&resource=y"},
		{app + "&scope=a&assertion=x", app + "&scope=a&assertion=y"}, // another grant's parameter is an unknown one
		{app + "&scope=a&refresh_token=x", app + "&scope=a&refresh_token=y"},
		{app + "&scope=a&requested_token_use=x", app + "&scope=a&requested_token_use=y"},
		{behalf + "&scope=a", behalf + "d&scope=a"},
		{behalf + "&scope=a", strings.Replace(behalf, "client_secret=s", "client_secret=z", 1) + "&scope=a"},
		{"grant_type=refresh_token&client_id=c&client_secret=s&refresh_token=r&scope=a",
			"grant_type=refresh_token&client_id=c&client_secret=s&refresh_token=q&scope=a"},
	} {
		f.Add(here, pair[0], here, pair[1], "")
	}
	f.Add(here, app+"&scope=a", "https://login.microsoftonline.com/u/oauth2/v2.0/token", app+"&scope=a", "")
	f.Add(here, app+"&scope=a", here+"?slice=x", app+"&scope=a", "")
	f.Add(here, app+"&scope=a", "http://login.microsoftonline.com/t/oauth2/v2.0/token", app+"&scope=a", "")
	f.Add(here, app+"&scope=a", here, app+"&scope=a", "Basic x")
	f.Fuzz(func(t *testing.T, address, body, otherAddress, otherBody, authorization string) {
		header := http.Header{}
		rid, ok := requestIdentity(address, header, body)
		if !ok {
			return
		}
		if again, ok := requestIdentity(address, header, body); !ok || again != rid {
			t.Fatal("one request has two identities")
		}
		if authorization != "" {
			header.Set("Authorization", authorization)
			if _, ok := requestIdentity(address, header, body); ok {
				t.Fatal("a request whose credential is in a header may get another's answer")
			}
			return
		}
		other, ok := requestIdentity(otherAddress, header, otherBody)
		if !ok || other != rid {
			return
		}
		one, two := meaning(t, body), meaning(t, otherBody)
		if !reflect.DeepEqual(one, two) {
			t.Fatalf("one identity for two requests that differ:\n%q\n%q", body, otherBody)
		}
		a, _ := url.Parse(address)
		b, _ := url.Parse(otherAddress)
		if !strings.EqualFold(a.Scheme+"://"+a.Host+a.Path, b.Scheme+"://"+b.Host+b.Path) || a.RawQuery != b.RawQuery {
			t.Fatalf("one identity at two addresses: %q, %q", address, otherAddress)
		}
	})
}
