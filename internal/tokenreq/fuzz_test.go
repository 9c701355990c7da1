package tokenreq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// FuzzTokenRequest: whatever a client posts, to whatever URL, it passes as it is or it is known whose it is.
func FuzzTokenRequest(f *testing.F) {
	const kind = "application/x-www-form-urlencoded"
	f.Add("https://login.microsoftonline.com/t/oauth2/v2.0/token", kind,
		"grant_type=client_credentials&client_id=c&client_secret=s&scope=a+b")
	f.Add("https://login.microsoftonline.com/t/oauth2/v2.0/token?x=y#z", kind+"; charset=utf-8",
		"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a.b.c&requested_token_use=on_behalf_of"+
			"&client_assertion=e30.e30.x")
	f.Add("http://[::1]:80", kind, "grant_type=refresh_token&refresh_token=r"+
		"&claims=%7B%22access_token%22%3A%7B%22xms_cc%22%3A%7B%22values%22%3A%5B%22cp1%22%5D%7D%7D%7D")
	f.Add("//x/%2f", "", "grant_type=user_fic&%zz")
	f.Fuzz(func(t *testing.T, address, contentType, body string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		request := func(body string) *http.Request {
			return &http.Request{Method: http.MethodPost, URL: u, Header: http.Header{"Content-Type": {contentType}},
				Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}
		}
		form, rest, ok := ReadForm(request(body))
		back, err := io.ReadAll(rest.Body)
		if err != nil || string(back) != body {
			t.Fatal("the body was changed")
		}
		if !ok {
			return
		}
		identify := func(form url.Values) Request { return Understand(rest, form, Lineage{}, time.Unix(1_700_000_000, 0)) }
		r := identify(form)
		if r.ID == "" {
			return
		}
		if !r.ID.Usable() {
			t.Fatalf("identity %q", r.ID)
		}
		// The same form in another order is the same request; of another user, client or secret it is not.
		same, _, ok := ReadForm(request(form.Encode()))
		if again := identify(same); !ok || again.ID != r.ID {
			t.Fatal("one request has two identities")
		}
		for _, name := range []string{"assertion", "client_id", "client_secret", "username", "resource", "Scope", "SCOPE",
			"unknown", "refresh_token"} {
			if contentType != kind || name == "assertion" && r.Grant != GrantOnBehalfOf ||
				name == "refresh_token" && r.Grant != GrantRefreshToken {
				continue
			}
			same.Set(name, same.Get(name)+"x")
			if other := identify(same); other.ID == r.ID {
				t.Fatalf("another %s has the same identity", name)
			}
			same.Set(name, form.Get(name))
			if !form.Has(name) {
				same.Del(name)
			}
		}
	})
}

// FuzzClaims: claims and client assertions of any shape have one meaning each.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{"access_token":{"xms_cc":{"values":["cp1"]},"nbf":{"essential":true,"value":"1"}}}`,
		`{"access_token":{"xms_cc":null}}`, `{`, `null`, `[]`,
		"eyJ4NXQiOiJ4In0.eyJpc3MiOiJjIn0.s", "..",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		capabilities, challenge, _ := splitClaims(text)
		if c2, ch2, _ := splitClaims(text); c2 != capabilities || ch2 != challenge {
			t.Fatal("claims have two meanings")
		}
		var claims map[string]any
		numbers := json.NewDecoder(strings.NewReader(text))
		numbers.UseNumber() // another number is another claim
		if json.Valid([]byte(text)) && numbers.Decode(&claims) == nil && unambiguous(gjson.Parse(text)) {
			b, _ := json.Marshal(claims)
			if c2, ch2, _ := splitClaims(string(b)); c2 != capabilities || ch2 != challenge {
				t.Fatal("claims written otherwise have another meaning")
			}
			if access, ok := claims["access_token"].(map[string]any); ok && challenge == "" {
				for name := range access {
					if name != "xms_cc" {
						t.Fatalf("the claim %q is no challenge", name)
					}
				}
			}
		} else if text != "" && challenge == "" {
			t.Fatal("claims that are not understood are no challenge")
		}
		now := time.Unix(1_700_000_000, 0)
		id, ok := assertionIdentity(text, now)
		if parts := strings.Split(text, "."); ok && len(parts) == 3 && id != text {
			// Who signed, when, does not matter; who vouches for whom does.
			if other, _ := assertionIdentity(parts[0]+"."+parts[1]+".other", now); other != id {
				t.Fatal("the signature is part of an assertion's identity")
			}
			if _, ok := assertionIdentity(parts[0]+"."+parts[1]+".", now); ok {
				t.Fatal("without a signature it is as good as with one")
			}
			claims, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				t.Fatal(err)
			}
			more := base64.RawURLEncoding.EncodeToString(
				append(bytes.TrimRight(bytes.TrimSpace(claims), "}"), `,"one claim more":1}`...))
			if other, _ := assertionIdentity(parts[0]+"."+more+"."+parts[2], now); other == id {
				t.Fatal("another claim does not matter")
			}
		}
	})
}
