package entratest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// assertion signs a client assertion as the api app, changed by edit.
func assertion(t *testing.T, s *entratest.Server, edit func(*jwt.Token, jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"aud": s.Authority(tenant) + "/oauth2/v2.0/token", "iss": api, "sub": api, "jti": uuid.NewString(),
		"nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, claims)
	sum := sha256.Sum256(cert.Raw)
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	if edit != nil {
		edit(token, claims)
	}
	signed, err := token.SignedString(certKey)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func assertionForm(a string) url.Values {
	return form("grant_type", "client_credentials", "client_id", api, "scope", graph, "client_assertion", a,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
}

func TestErrors(t *testing.T) {
	s := start(t, &entratest.Config{Tenants: []string{tenant, ada.TenantID}})
	s.AddApp(entratest.App{ClientID: "66666666-6666-4666-8666-666666666666", Public: true,
		Unconsented: []string{"Mail.Read"}})
	token := func(clientID, aud string) string {
		t.Helper()
		v, err := s.UserToken(clientID, ada.Username, aud)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	s.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = -time.Minute })
	expired := token(api, "")
	s.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 0 })
	foreign := forge(t, token(api, ""))
	appToken := post(t, s, tenant, with(appForm(), "scope", "api://"+api+"/.default")).AccessToken
	fic, err := s.FederatedCredential(api)
	if err != nil {
		t.Fatal(err)
	}
	rt := signIn(t, s, "User.Read offline_access").RefreshToken
	key := func(edit func(*jwt.Token, jwt.MapClaims)) url.Values { return assertionForm(assertion(t, s, edit)) }
	obo := func(a string) url.Values {
		return form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use", "on_behalf_of",
			"client_id", api, "client_secret", secret, "scope", graph, "assertion", a)
	}
	userFIC := func(f string) url.Values {
		return form("grant_type", "user_fic", "client_id", api, "client_secret", secret, "scope", graph,
			"username", ada.Username, "user_federated_identity_credential", f)
	}
	password := func() url.Values {
		return form("grant_type", "password", "client_id", desktop, "username", ada.Username, "password", ada.Password,
			"scope", "User.Read")
	}

	for name, tt := range map[string]struct {
		tenant string
		form   url.Values
		status int
		err    string
		number int
	}{
		"no grant_type": {form: form("client_id", webApp), status: 400, err: "invalid_request", number: 900144},
		"unknown grant_type": {form: with(appForm(), "grant_type", "magic"), status: 400,
			err: "unsupported_grant_type", number: 70003},
		"no client_id": {form: with(appForm(), "client_id", ""), status: 400,
			err: "invalid_request", number: 900144},
		"unknown app": {form: with(appForm(), "client_id", "nobody"), status: 400,
			err: "unauthorized_client", number: 700016},
		"unknown tenant": {tenant: "fabrikam.com", form: appForm(), status: 400,
			err: "invalid_request", number: 90002},
		"malformed tenant":   {tenant: "a$b", form: appForm(), status: 400, err: "invalid_request", number: 900023},
		"app without tenant": {tenant: "common", form: appForm(), status: 400, err: "invalid_request", number: 50059},
		"bad secret": {form: with(appForm(), "client_secret", "wrong"), status: 401,
			err: "invalid_client", number: 7000215},
		"no credential": {form: with(appForm(), "client_secret", ""), status: 401,
			err: "invalid_client", number: 7000216},
		"no credential, user flow": {form: with(obo("x"), "client_secret", ""), status: 401,
			err: "invalid_client", number: 7000218},
		"credential of public app": {form: with(password(), "client_secret", "x"), status: 401,
			err: "invalid_client", number: 700025},
		"public app for itself": {form: form("grant_type", "client_credentials", "client_id", desktop, "scope", graph),
			status: 401, err: "invalid_client", number: 7000216},
		"no scope": {form: with(appForm(), "scope", ""), status: 400,
			err: "invalid_request", number: 900144},
		"app scope not default": {form: with(appForm(), "scope", "https://graph.microsoft.com/User.Read"), status: 400,
			err: "invalid_scope", number: 1002012},
		"app scope of two resources": {form: with(appForm(), "scope", graph+" "+crm), status: 400,
			err: "invalid_scope", number: 70011},
		"malformed scope": {form: with(appForm(), "scope", "https://x"), status: 400,
			err: "invalid_scope", number: 70011},
		"user scope of two": {form: with(password(), "scope", "User.Read https://org.crm4.dynamics.com/x"), status: 400,
			err: "invalid_request", number: 28000},
		"default mixed": {form: with(password(), "scope", graph+" User.Read"), status: 400,
			err: "invalid_scope", number: 70011},
		"claims no JSON": {form: with(appForm(), "claims", "{"), status: 400, err: "invalid_request", number: 9002313},
		"no consent": {form: with(password(), "client_id", "66666666-6666-4666-8666-666666666666", "scope",
			"mail.read"), status: 400, err: "invalid_grant", number: 65001},
		"wrong password": {form: with(password(), "password", "x"), status: 400, err: "invalid_grant", number: 50126},
		"user without password": {form: with(password(), "username", bob.Username), status: 400,
			err: "invalid_grant", number: 50126},
		"unknown user": {form: with(password(), "username", "eve"), status: 400, err: "invalid_grant", number: 50034},

		"assertion malformed": {form: assertionForm("nonsense"), status: 401, err: "invalid_client", number: 50027},
		"assertion type missing": {form: with(key(nil), "client_assertion_type", ""), status: 400,
			err: "invalid_request", number: 900144},
		"assertion, app without cert": {form: with(key(nil), "client_id", webApp), status: 401,
			err: "invalid_client", number: 700027},
		"assertion of other cert": {form: key(func(j *jwt.Token, _ jwt.MapClaims) { j.Header["x5t#S256"] = "AAAA" }),
			status: 401, err: "invalid_client", number: 700027},
		"assertion without cert": {form: key(func(j *jwt.Token, _ jwt.MapClaims) { delete(j.Header, "x5t#S256") }),
			status: 401, err: "invalid_client", number: 700027},
		"assertion badly signed": {form: with(key(nil), "client_assertion", breakSignature(assertion(t, s, nil))),
			status: 401, err: "invalid_client", number: 700027},
		"assertion expired": {form: key(func(_ *jwt.Token, c jwt.MapClaims) {
			c["exp"] = time.Now().Add(-time.Second).Unix()
		}),
			status: 401, err: "invalid_client", number: 700024},
		"assertion too early": {form: key(func(_ *jwt.Token, c jwt.MapClaims) {
			c["nbf"] = time.Now().Add(time.Minute).Unix()
		}),
			status: 401, err: "invalid_client", number: 700024},
		"assertion of other app": {form: key(func(_ *jwt.Token, c jwt.MapClaims) { c["sub"] = webApp }),
			status: 401, err: "invalid_client", number: 700021},
		"assertion of other issuer": {form: key(func(_ *jwt.Token, c jwt.MapClaims) { c["iss"] = webApp }),
			status: 401, err: "invalid_client", number: 700021},
		"assertion for elsewhere": {form: key(func(_ *jwt.Token, c jwt.MapClaims) {
			c["aud"] = "https://evil.example/oauth2/v2.0/token"
		}),
			status: 401, err: "invalid_client", number: 700023},
		"assertion for other tenant": {form: key(func(_ *jwt.Token, c jwt.MapClaims) {
			c["aud"] = s.Authority("fabrikam.com") + "/v2.0"
		}),
			status: 401, err: "invalid_client", number: 700023},
		"access token as assertion": {form: assertionForm(appToken), status: 401, err: "invalid_client", number: 700212},

		"refresh without token": {form: refreshForm(""), status: 400, err: "invalid_request", number: 900144},
		"refresh with nonsense": {form: refreshForm("nonsense"), status: 400, err: "invalid_grant", number: 9002313},
		"refresh by other app": {form: with(refreshForm(rt), "client_id", webApp, "client_secret", secret), status: 400,
			err: "invalid_grant", number: 70000},
		"refresh in unknown tenant": {tenant: "fabrikam.com", form: refreshForm(rt), status: 400,
			err: "invalid_request", number: 90002},

		"obo without assertion": {form: obo(""), status: 400, err: "invalid_request", number: 900144},
		"obo without use": {form: with(obo("x"), "requested_token_use", ""), status: 400,
			err: "invalid_request", number: 900144},
		"obo of other use": {form: with(obo("x"), "requested_token_use", "magic"), status: 400,
			err: "unsupported_grant_type", number: 70003},
		"obo with nonsense": {form: obo("nonsense"), status: 400, err: "invalid_request", number: 50027},
		"obo expired":       {form: obo(expired), status: 400, err: "invalid_grant", number: 500133},
		"obo forged":        {form: obo(foreign), status: 400, err: "invalid_grant", number: 50013},
		"obo of other signature": {form: obo(breakSignature(token(api, ""))), status: 400,
			err: "invalid_grant", number: 50013},
		"obo of other audience": {form: obo(token(webApp, graph)), status: 400, err: "invalid_grant", number: 500131},
		"obo of an app":         {form: obo(appToken), status: 400, err: "unauthorized_client", number: 7000114},

		"fic without credential": {form: userFIC(""), status: 400, err: "invalid_request", number: 900144},
		"fic without user": {form: with(userFIC(fic), "username", ""), status: 400,
			err: "invalid_request", number: 900144},
		"fic of unknown user": {form: with(userFIC(fic), "username", "eve"), status: 400,
			err: "invalid_grant", number: 50034},
		"fic of other app": {form: with(userFIC(fic), "client_id", webApp), status: 400,
			err: "invalid_grant", number: 500131},
		"fic of other audience": {form: userFIC(token(api, "")), status: 400, err: "invalid_grant", number: 500131},
		"fic forged":            {form: userFIC(forge(t, fic)), status: 400, err: "invalid_grant", number: 50013},

		"device without code": {form: form("grant_type", "device_code", "client_id", desktop), status: 400,
			err: "invalid_request", number: 900144},
		"device with unknown code": {form: form("grant_type", "device_code", "client_id", desktop, "device_code", "x"),
			status: 400, err: "bad_verification_code", number: 70018},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.tenant == "" {
				tt.tenant = tenant
			}
			s.ResetRequests()
			a := post(t, s, tt.tenant, tt.form)
			if a.status != tt.status || a.Error != tt.err || !slices.Equal(a.Codes, []int{tt.number}) {
				t.Fatalf("%d %s, want %d %s AADSTS%d", a.status, a.raw, tt.status, tt.err, tt.number)
			}
			code := fmt.Sprintf("AADSTS%d", tt.number)
			if !strings.HasPrefix(a.Description, code+": ") ||
				!strings.Contains(a.Description, " Trace ID: "+a.TraceID+" Correlation ID: "+a.Correlation+" Timestamp: ") {
				t.Errorf("description: %s", a.Description)
			}
			if a.header.Get("x-ms-request-id") != a.TraceID || !strings.HasSuffix(a.ErrorURI, fmt.Sprint("=", tt.number)) ||
				a.header.Get("Content-Type") != "application/json; charset=utf-8" ||
				!strings.Contains(a.header.Get("Cache-Control"), "no-store") {
				t.Errorf("headers %v, body %s", a.header, a.raw)
			}
			if r := s.Requests(); len(r) != 1 || r[0].Status != tt.status || r[0].Error != code {
				t.Errorf("record: %+v", r)
			}
			// Entra ID's messages repeat identifiers, never secrets.
			for _, v := range []string{"client_secret", "client_assertion", "assertion", "refresh_token", "password",
				"user_federated_identity_credential"} {
				if sent := tt.form.Get(v); len(sent) > 5 && strings.Contains(a.raw, sent) {
					t.Errorf("the answer repeats %s", v)
				}
			}
		})
	}
	if a := post(t, s, tenant, key(nil)); a.status != http.StatusOK {
		t.Errorf("the assertion that the cases change is wrong itself: %s", a.raw)
	}
	for _, v := range []url.Values{obo(token(api, "")), userFIC(fic), password(), refreshForm(rt)} {
		if a := post(t, s, tenant, v); a.status != http.StatusOK {
			t.Errorf("a form that the cases change is wrong itself: %s", a.raw)
		}
	}
}

func TestConsentSuberror(t *testing.T) {
	s := start(t, nil)
	s.AddApp(entratest.App{ClientID: desktop, Public: true, Unconsented: []string{"https://org.crm4.dynamics.com"}})
	a := post(t, s, tenant, form("grant_type", "password", "client_id", desktop, "username", ada.Username, "password",
		ada.Password, "scope", crm))
	if a.Suberror != "consent_required" {
		t.Errorf("%s", a.raw)
	}
}

// A client assertion in the RFC's form, with SHA-1, and for the issuer instead of the token endpoint.
func TestAssertionVariants(t *testing.T) {
	s := start(t, nil)
	tid := claimsOf(t, post(t, s, tenant, appForm()).AccessToken)["tid"]
	for name, edit := range map[string]func(*jwt.Token, jwt.MapClaims){
		"issuer": func(_ *jwt.Token, c jwt.MapClaims) {
			c["aud"] = fmt.Sprintf("https://login.microsoftonline.com/%s/v2.0", tid)
		},
		"alias": func(_ *jwt.Token, c jwt.MapClaims) {
			c["aud"] = "https://login.windows.net/" + tenant + "/oauth2/v2.0/token"
		},
		"server address": func(_ *jwt.Token, c jwt.MapClaims) { c["aud"] = s.LocalAuthority(tenant) + "/oauth2/v2.0/token" },
		"several":        func(_ *jwt.Token, c jwt.MapClaims) { c["aud"] = []string{"x", s.Authority(tenant) + "/v2.0"} },
		"x5t": func(j *jwt.Token, _ jwt.MapClaims) {
			delete(j.Header, "x5t#S256")
			j.Header["x5t"] = sha1Thumbprint(cert)
		},
		"x5c": func(j *jwt.Token, _ jwt.MapClaims) {
			delete(j.Header, "x5t#S256")
			j.Header["x5c"] = []string{base64.StdEncoding.EncodeToString(cert.Raw)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if a := post(t, s, tenant, assertionForm(assertion(t, s, edit))); a.status != http.StatusOK {
				t.Error(a.raw)
			}
		})
	}
}

func TestCodeErrors(t *testing.T) {
	s := start(t, nil)
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	code := func(pairs ...string) string {
		t.Helper()
		q := with(form("client_id", webApp, "redirect_uri", reply, "response_type", "code", "scope",
			"User.Read offline_access"), pairs...)
		v, err := s.AuthorizeCode(s.Authority(tenant)+"/oauth2/v2.0/authorize?"+q.Encode(), ada.Username)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	redeem := func(code string, pairs ...string) url.Values {
		return with(form("grant_type", "authorization_code", "client_id", webApp, "client_secret", secret, "code", code,
			"redirect_uri", reply, "scope", "User.Read"), pairs...)
	}
	pkce := []string{"code_challenge", challenge, "code_challenge_method", "S256"}
	for name, tt := range map[string]struct {
		tenant string
		form   url.Values
		err    string
		number int
	}{
		"unknown":     {form: redeem("nonsense"), err: "invalid_grant", number: 70000},
		"missing":     {form: redeem(""), err: "invalid_request", number: 900144},
		"no redirect": {form: redeem(code(), "redirect_uri", ""), err: "invalid_request", number: 900144},
		"other redirect": {form: redeem(code(), "redirect_uri", reply+"2"),
			err: "invalid_client", number: 500112},
		"other app":    {form: redeem(code(), "client_id", api), err: "invalid_grant", number: 70000},
		"other tenant": {tenant: "fabrikam.com", form: redeem(code()), err: "invalid_grant", number: 700005},
		"other verifier": {form: redeem(code(pkce...), "code_verifier", "w"+verifier[1:]),
			err: "invalid_grant", number: 501481},
		"no verifier":                {form: redeem(code(pkce...)), err: "invalid_grant", number: 501481},
		"verifier without challenge": {form: redeem(code(), "code_verifier", verifier), err: "invalid_grant", number: 501481},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.tenant == "" {
				tt.tenant = tenant
			}
			if a := post(t, s, tt.tenant, tt.form); a.Error != tt.err || !slices.Equal(a.Codes, []int{tt.number}) {
				t.Errorf("%s, want %s AADSTS%d", a.raw, tt.err, tt.number)
			}
		})
	}

	// A refused redemption uses nothing up; an accepted one does.
	once := code(pkce...)
	post(t, s, tenant, redeem(once, "code_verifier", "wrong"))
	if a := post(t, s, tenant, redeem(once, "code_verifier", verifier)); a.status != http.StatusOK ||
		a.RefreshToken != "" {
		t.Errorf("first redemption: %s", a.raw)
	}
	if a := post(t, s, tenant, redeem(once, "code_verifier", verifier)); a.Error != "invalid_grant" ||
		!slices.Equal(a.Codes, []int{54005}) {
		t.Errorf("second redemption: %s", a.raw)
	}

	late := code()
	s.SetBehavior(func(b *entratest.Behavior) { b.CodeLifetime = time.Nanosecond })
	if a := post(t, s, tenant, redeem(late)); !slices.Equal(a.Codes, []int{70008}) {
		t.Errorf("expired: %s", a.raw)
	}
}

func TestAuthorizeErrors(t *testing.T) {
	s := start(t, &entratest.Config{Tenants: []string{tenant}})
	q := func(pairs ...string) string {
		return s.Authority(tenant) + "/oauth2/v2.0/authorize?" +
			with(form("client_id", webApp, "redirect_uri", reply, "response_type", "code", "scope", "User.Read"),
				pairs...).Encode()
	}
	for name, tt := range map[string]struct{ url, user, want string }{
		"unknown app":      {q("client_id", "x"), ada.Username, "AADSTS700016"},
		"foreign redirect": {q("redirect_uri", "https://evil.example"), ada.Username, "AADSTS50011"},
		"no scope":         {q("scope", ""), ada.Username, "AADSTS900144"},
		"implicit":         {q("response_type", "token"), ada.Username, "AADSTS700054"},
		"short challenge":  {q("code_challenge", "x", "code_challenge_method", "S256"), ada.Username, "AADSTS501491"},
		"odd method":       {q("code_challenge", "x", "code_challenge_method", "S512"), ada.Username, "AADSTS501491"},
		"unknown user":     {q(), "eve", "AADSTS50034"},
		"unknown tenant":   {strings.Replace(q(), tenant, "fabrikam.com", 1), ada.Username, "AADSTS90002"},
		"not the endpoint": {s.Authority(tenant) + "/oauth2/v2.0/token", ada.Username, "not an authorization URL"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.AuthorizeCode(tt.url, tt.user); !strings.Contains(text(err), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	// RFC 8252 section 7.3: a desktop app listens where it can.
	if _, err := s.AuthorizeCode(q("client_id", desktop, "redirect_uri", "http://localhost:49152"),
		ada.Username); err != nil {
		t.Error(err)
	}
	if _, err := s.AuthorizeCode(q("client_id", webApp, "redirect_uri", "http://localhost:49152"),
		ada.Username); err == nil {
		t.Error("a loopback address the app does not have")
	}
}

func TestDeviceCodeErrors(t *testing.T) {
	s := start(t, nil)
	c := publicClient(t, s)
	begin := func() (userCode string, poll url.Values) {
		t.Helper()
		flow, err := c.AcquireTokenByDeviceCode(t.Context(), []string{"User.Read"})
		if err != nil {
			t.Fatal(err)
		}
		return flow.Result.UserCode, form("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", desktop,
			"device_code", flow.Result.DeviceCode)
	}
	want := func(v url.Values, err string, number int) {
		t.Helper()
		if a := post(t, s, tenant, v); a.Error != err || a.status != http.StatusBadRequest ||
			!slices.Equal(a.Codes, []int{number}) {
			t.Errorf("%s, want %s AADSTS%d", a.raw, err, number)
		}
	}
	userCode, poll := begin()
	want(poll, "authorization_pending", 70016)
	want(with(poll, "client_id", desktop), "authorization_pending", 70016)
	if err := s.ApproveDevice(userCode, "eve"); err == nil {
		t.Error("approved by an unknown user")
	}
	if err := s.ApproveDevice("nonsense", ada.Username); err == nil {
		t.Error("approved an unknown code")
	}
	if err := s.ApproveDevice(userCode, ada.Username); err != nil {
		t.Fatal(err)
	}
	if a := post(t, s, tenant, poll); a.status != http.StatusOK {
		t.Error(a.raw)
	}
	want(poll, "invalid_grant", 54005)

	userCode, poll = begin()
	if err := s.DenyDevice(userCode); err != nil {
		t.Fatal(err)
	}
	want(poll, "authorization_declined", 70000)

	_, poll = begin()
	s.SetBehavior(func(b *entratest.Behavior) { b.DeviceCodeLifetime = time.Nanosecond })
	want(poll, "expired_token", 70020)

	s.AddApp(entratest.App{ClientID: "gone"})
	missing, err := public.New("nobody", public.WithAuthority(s.Authority(tenant)), public.WithHTTPClient(s.HTTPClient()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.AcquireTokenByDeviceCode(t.Context(), []string{"User.Read"}); !strings.Contains(text(err),
		"AADSTS700016") {
		t.Errorf("unknown app: %v", err)
	}
}

func TestRefreshTokenExpiry(t *testing.T) {
	s := start(t, nil)
	a := signIn(t, s, "User.Read offline_access")
	s.SetBehavior(func(b *entratest.Behavior) { b.RefreshTokenLifetime = time.Nanosecond })
	if a := post(t, s, tenant, refreshForm(a.RefreshToken)); a.Error != "invalid_grant" ||
		!slices.Equal(a.Codes, []int{700082}) {
		t.Errorf("%s", a.raw)
	}
}

// Revocation kills what is there, and what a redemption that was under way brings; a new sign-in works.
func TestRevokeUser(t *testing.T) {
	s := start(t, nil)
	a := signIn(t, s, "User.Read offline_access")
	successor := post(t, s, tenant, refreshForm(a.RefreshToken))
	s.RevokeUser(ada.HomeAccountID())
	for _, token := range []string{a.RefreshToken, successor.RefreshToken} {
		if r := post(t, s, tenant, refreshForm(token)); r.Error != "invalid_grant" || !slices.Equal(r.Codes, []int{50173}) {
			t.Errorf("%s", r.raw)
		}
	}
	again := signIn(t, s, "User.Read offline_access")
	if r := post(t, s, tenant, refreshForm(again.RefreshToken)); r.status != http.StatusOK {
		t.Errorf("after a new sign-in: %s", r.raw)
	}
	// Through MSAL, whose error carries the body.
	c := secretClient(t, s, webApp, secret)
	got := authCode(t, s, c, []string{"User.Read"})
	s.RevokeUser(ada.HomeAccountID())
	_, err := c.AcquireTokenSilent(t.Context(), []string{crm}, confidential.WithSilentAccount(got.Account))
	if !strings.Contains(text(err), "AADSTS50173") {
		t.Errorf("silent: %v", err)
	}
}
