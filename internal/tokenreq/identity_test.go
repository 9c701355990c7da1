package tokenreq

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

var identityNow = time.Unix(1_700_000_000, 0)

const identityEndpoint = "https://login.microsoftonline.com/t/oauth2/v2.0/token"

// identityRequest is a request as a client posts it.
type identityRequest struct {
	address string
	header  http.Header
	form    url.Values
}

func (r identityRequest) clone() identityRequest {
	form := url.Values{}
	for name, values := range r.form {
		form[name] = append([]string(nil), values...)
	}
	return identityRequest{r.address, r.header.Clone(), form}
}

// identity is the request's identity; "": it passes untouched.
func (r identityRequest) identity(t *testing.T) layout.ID {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, r.header)
	return Understand(req, r.form, lineages[r.form.Get("refresh_token")], identityNow).ID
}

func assertionOf(head, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(head)) + "." + encode([]byte(claims)) + ".c2lnbmF0dXJl"
}

const assertedClaims = `{"iss":"i","sub":"s","aud":"a","exp":1700000600,"nbf":1699999999`

func identityRequests() map[string]identityRequest {
	request := func(form url.Values) identityRequest {
		form.Set("client_id", "client")
		form.Set("scope", "https://graph.microsoft.com/.default openid offline_access profile")
		return identityRequest{identityEndpoint, http.Header{}, form}
	}
	return map[string]identityRequest{
		"app": request(url.Values{"grant_type": {GrantClientCredentials}, "client_secret": {"secret"}}),
		"assertion": request(url.Values{"grant_type": {GrantClientCredentials},
			"client_assertion": {assertionOf(`{"alg":"RS256"}`, assertedClaims+`}`)}}),
		"on-behalf-of": request(url.Values{"grant_type": {GrantOnBehalfOf}, "client_secret": {"secret"},
			"assertion": {"the user's"}, "requested_token_use": {"on_behalf_of"}}),
		"its refresh": request(url.Values{"grant_type": {GrantRefreshToken}, "client_secret": {"secret"},
			"refresh_token": {"of an assertion"}}),
		"a user's": request(url.Values{"grant_type": {GrantRefreshToken}, "client_secret": {"secret"},
			"refresh_token": {"of an account"}}),
		"an unknown's": request(url.Values{"grant_type": {GrantRefreshToken}, "client_secret": {"secret"},
			"refresh_token": {"of nobody who is known"}}),
		"an unknown's next": request(url.Values{"grant_type": {GrantRefreshToken}, "client_secret": {"secret"},
			"refresh_token": {"the next of nobody who is known"}}),
		"user_fic": request(url.Values{"grant_type": {GrantUserFIC}, "client_secret": {"secret"}, "user_id": {"u"},
			"user_federated_identity_credential": {"f"}}),
	}
}

// lineages are those of the refresh tokens of identityRequests.
var lineages = map[string]Lineage{
	"of an assertion": {Kind: OnBehalfOfRefresh, Assertion: AssertionKey("the user's")},
	"of an account": {Kind: UserRefresh, Account: "u.t", Partition: layout.PartitionID("u.t"),
		Environment: "login.microsoftonline.com"},
	"the next of nobody who is known": {Kind: RotatedRefresh, First: HashSecret("of nobody who is known").String()},
}

// An answer belongs to a request that is equal in everything that is not known to be without meaning.
func TestWhatMakesAnotherIdentity(t *testing.T) {
	set := func(name, value string) func(*identityRequest) {
		return func(r *identityRequest) { r.form.Set(name, value) }
	}
	header := func(name, value string) func(*identityRequest) {
		return func(r *identityRequest) { r.header.Set(name, value) }
	}
	others := map[string]func(*identityRequest){
		"another tenant": func(r *identityRequest) { r.address = strings.Replace(r.address, "/t/", "/guest/", 1) },
		"another cloud":  func(r *identityRequest) { r.address = strings.Replace(r.address, ".com", ".us", 1) },
		"another path":   func(r *identityRequest) { r.address += "2" },
		"another scheme": func(r *identityRequest) { r.address = strings.Replace(r.address, "https", "http", 1) },
		"another port":   func(r *identityRequest) { r.address = strings.Replace(r.address, ".com/", ".com:444/", 1) },
		"a query":        func(r *identityRequest) { r.address += "?p=b2c_1_one" },
		"another client": set("client_id", "another"),
		"another secret": set("client_secret", "another"),
		"another scope":  set("scope", "https://vault.azure.net/.default openid offline_access profile"),
		"OIDC only":      set("scope", "openid offline_access profile"),
		"capabilities":   set("claims", `{"access_token":{"xms_cc":{"values":["CP1"]}}}`),
		"a challenge":    set("claims", `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`),
		"the same challenge in two members": set("claims",
			`{"access_token":{"nbf":{"essential":true,"value":"1"}},"access_token":{"xms_cc":{"values":["CP1"]}}}`),
		"a resource":                    set("resource", "https://vault.azure.net"),
		"an unknown parameter":          set("unknown", "1"),
		"an empty one":                  set("unknown", ""),
		"an agent's path":               set("fmi_path", "SomePath/Agent"),
		"a name in other letters":       set("Scope", "https://vault.azure.net/.default"),
		"a known one in other letters":  set("Client_Info", "1"),
		"a redirect":                    set("redirect_uri", "https://app.example/"),
		"another grant's parameter":     set("device_code", "1"),
		"an unknown header":             header("X-Tenant", "guest"),
		"the same header, another time": header("X-Tenant", "another"),
	}
	for kind, request := range identityRequests() {
		seen := map[layout.ID]string{request.identity(t): "itself"}
		for what, change := range others {
			other := request.clone()
			change(&other)
			rid := other.identity(t)
			if before, ok := seen[rid]; ok {
				t.Errorf("%s: %q and %q share an answer", kind, what, before)
			}
			if rid == "" {
				t.Errorf("%s: %q is shared with nobody", kind, what)
			}
			seen[rid] = what
		}
	}
}

func TestWhatMakesNoOtherIdentity(t *testing.T) {
	for kind, request := range identityRequests() {
		for what, change := range map[string]func(*identityRequest){
			"capitals in the tenant": func(r *identityRequest) { r.address = strings.Replace(r.address, "/t/", "/T/", 1) },
			"capitals in the client": func(r *identityRequest) { r.form.Set("client_id", "CLIENT") },
			"scopes in another order": func(r *identityRequest) {
				r.form.Set("scope", "profile offline_access openid https://Graph.microsoft.com/.default")
			},
			"client_info":   func(r *identityRequest) { r.form.Set("client_info", "1") },
			"request ids":   func(r *identityRequest) { r.header.Set("client-request-id", "1") },
			"telemetry":     func(r *identityRequest) { r.form.Set("x-client-sku", "MSAL.Go") },
			"trace context": func(r *identityRequest) { r.header.Set("traceparent", "00-1-1-01") },
			"another trace": func(r *identityRequest) { r.header.Set("x-datadog-trace-id", "1") },
			"cookies":       func(r *identityRequest) { r.header.Set("Cookie", "fpc=1") },
		} {
			other := request.clone()
			change(&other)
			if got, want := other.identity(t), request.identity(t); got != want {
				t.Errorf("%s: with %s it is another request", kind, what)
			}
		}
	}
	requests := identityRequests()
	if requests["on-behalf-of"].identity(t) != requests["its refresh"].identity(t) {
		t.Error("the refresh of an on-behalf-of token has another answer than the request")
	}
	if requests["an unknown's"].identity(t) != requests["an unknown's next"].identity(t) {
		t.Error("a refresh token's successor has another answer")
	}
}

// What proves itself where this package does not see it, or says a thing twice, is for the endpoint alone.
func TestWhatPassesUntouched(t *testing.T) {
	for kind, request := range identityRequests() {
		changes := map[string]func(*identityRequest){
			"an Authorization header": func(r *identityRequest) { r.header.Set("Authorization", "Basic Y2xpZW50OnNlY3JldA==") },
			"a DPoP proof":            func(r *identityRequest) { r.header.Set("DPoP", "proof") },
			"mutual TLS": func(r *identityRequest) {
				r.address = "https://mtlsauth.microsoft.com/t/oauth2/v2.0/token"
			},
			"mutual TLS in a region": func(r *identityRequest) {
				r.address = "https://westus.mtlsauth.microsoft.com/t/oauth2/v2.0/token"
			},
			"a parameter twice":    func(r *identityRequest) { r.form.Add("scope", "another") },
			"an unknown one twice": func(r *identityRequest) { r.form["unknown"] = []string{"1", "1"} },
			"a key":                func(r *identityRequest) { r.form.Set("req_cnf", "key") },
			"a token type":         func(r *identityRequest) { r.form.Set("token_type", "pop") },
		}
		if request.form.Get("grant_type") != GrantRefreshToken {
			changes["no credential"] = func(r *identityRequest) {
				r.form.Del("client_secret")
				r.form.Del("client_assertion")
			}
		}
		for what, change := range changes {
			other := request.clone()
			change(&other)
			if other.identity(t) != "" {
				t.Errorf("%s: with %s it is shared", kind, what)
			}
		}
	}
}

// A client assertion proves a client to the endpoint alone. What others got for one answers for another only where the
// endpoint could not tell them apart, and never where it must refuse.
func TestWhatOfAClientAssertionCounts(t *testing.T) {
	identity := func(assertion string) (string, bool) { return assertionIdentity(assertion, identityNow) }
	const head = `{"alg":"RS256","kid":"1","x5t":"thumbprint"}`
	one, _ := identity(assertionOf(head,
		assertedClaims+`,"jti":"1","iat":1,"kubernetes.io":{"pod":{"name":"a","uid":"1"}}}`))
	for what, assertion := range map[string]string{
		"times and id": assertionOf(head, `{"iss":"i","sub":"s","aud":"a","exp":1700000999,"nbf":1,"jti":"2","iat":2}`),
		"a pod":        assertionOf(head, assertedClaims+`,"kubernetes.io":{"pod":{"name":"b","uid":"2"}}}`),
		"a key":        assertionOf(strings.Replace(head, `"kid":"1"`, `"kid":"2"`, 1), assertedClaims+`}`),
		"no start":     assertionOf(head, `{"iss":"i","sub":"s","aud":"a","exp":1700000600}`),
	} {
		if other, ok := identity(assertion); other != one || !ok {
			t.Errorf("with another %s it is another client's", what)
		}
	}
	for what, assertion := range map[string]string{
		"issuer":            assertionOf(head, strings.Replace(assertedClaims, `"i"`, `"j"`, 1)+`}`),
		"subject":           assertionOf(head, strings.Replace(assertedClaims, `"s"`, `"r"`, 1)+`}`),
		"audience":          assertionOf(head, strings.Replace(assertedClaims, `"a"`, `["a"]`, 1)+`}`),
		"claim":             assertionOf(head, assertedClaims+`,"job_workflow_ref":"main"}`),
		"certificate":       assertionOf(strings.Replace(head, "thumbprint", "another", 1), assertedClaims+`}`),
		"certificate's sum": assertionOf(strings.Replace(head, "x5t", "x5t#S256", 1), assertedClaims+`}`),
		"certificate whole": assertionOf(strings.Replace(head, `"x5t":"thumbprint"`, `"x5t":"thumbprint","x5c":["another"]`,
			1), assertedClaims+`}`),
	} {
		if other, ok := identity(assertion); other == one || !ok {
			t.Errorf("another %s is the same client's", what)
		}
	}
	managed := func(rest string) string {
		id, _ := identity(assertionOf(head,
			`{"iss":"https://login.microsoftonline.com/t/v2.0","sub":"s","aud":"a","exp":1700000600`+rest+`}`))
		return id
	}
	if managed(`,"aio":"1","rh":"1","uti":"1","xms_ftd":"1"`) != managed(`,"aio":"2","rh":"2","uti":"2","xms_ftd":"2"`) {
		t.Error("the next token of a managed identity is another client's")
	}
	if managed(`,"oid":"1"`) == managed(`,"oid":"2"`) {
		t.Error("another managed identity is the same client's")
	}
	uti, _ := identity(assertionOf(head, assertedClaims+`,"uti":"1"}`))
	if other, _ := identity(assertionOf(head, assertedClaims+`,"uti":"2"}`)); other == uti {
		t.Error("a claim that varies at Entra ID alone does not count of another issuer")
	}
	for what, claims := range map[string]string{
		"issuer": `{"sub":"s","aud":"a","exp":1700000600`, "subject": `{"iss":"i","aud":"a","exp":1700000600`,
		"audience": `{"iss":"i","sub":"s","exp":1700000600`, "end": `{"iss":"i","sub":"s","aud":"a"`,
	} {
		a, _ := identity(assertionOf(head, claims+`,"jti":"1"}`))
		b, _ := identity(assertionOf(head, claims+`,"jti":"2"}`))
		if a == b {
			t.Errorf("two that lack the %s are one client's", what)
		}
	}
	for what, assertion := range map[string]string{
		"unsigned":              strings.TrimSuffix(assertionOf(head, assertedClaims+`}`), "c2lnbmF0dXJl"),
		"of algorithm none":     assertionOf(`{"alg":"none"}`, assertedClaims+`}`),
		"of algorithm None":     assertionOf(`{"alg":"None"}`, assertedClaims+`}`),
		"without an algorithm":  assertionOf(`{"kid":"1"}`, assertedClaims+`}`),
		"expired":               assertionOf(head, `{"iss":"i","sub":"s","aud":"a","exp":1700000000}`),
		"not valid yet":         assertionOf(head, `{"iss":"i","sub":"s","aud":"a","nbf":1700000001}`),
		"of an unreadable time": assertionOf(head, `{"iss":"i","sub":"s","aud":"a","exp":"tomorrow"}`),
	} {
		if _, ok := identity(assertion); ok {
			t.Errorf("one that is %s gets what others got", what)
		}
	}
	for _, whole := range []string{"", "opaque", "a.b", "a.b.c.d.e", "e30.bm90IEpTT04.s",
		assertionOf(head, `{"iss":"i","iss":"j","sub":"s","aud":"a"}`)} {
		if got, ok := identity(whole); got != whole || !ok {
			t.Errorf("%q does not count whole", whole)
		}
	}
}
