package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// What the checker believes of a guest's object id and of capabilities is what the emulator does.
func TestTokensAreReadAsTheEmulatorWritesThem(t *testing.T) {
	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer entra.Close()
	entra.AddApp(entratest.App{ClientID: otherClient, Secret: "s"})
	user := entratest.User{Username: "ada@contoso.com"}
	entra.AddUser(user)
	assertion, err := entra.UserToken(otherClient, user.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	tenant := tenantID("elsewhere")
	for _, claims := range []string{"", `{"access_token":{"xms_cc":{"values":["CP1"]}}}`} {
		resp, err := entra.HTTPClient().PostForm("https://login.microsoftonline.com/"+tenant+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "requested_token_use": {"on_behalf_of"},
			"assertion": {assertion}, "client_id": {otherClient}, "client_secret": {"s"}, "scope": {scopeOBO},
			"claims": {claims}})
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var answer struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
			t.Fatalf("%s: %v", body, err)
		}
		got := (&worker{}).read(answer.Token)
		if got.Subject != subjectIn(tenant, user.HomeAccountID()) || got.Tenant != tenant || got.Client != otherClient ||
			got.CAE != (claims != "") {
			t.Errorf("claims %q: %+v", claims, got)
		}
	}
}

func TestClaimsAreRead(t *testing.T) {
	for text, want := range map[string][2]bool{
		"": {},
		`{"access_token":{"xms_cc":{"values":["CP1"]}}}`:                                  {true, false},
		`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`:                         {false, true},
		`{"access_token":{"nbf":{"essential":true},"xms_cc":{"values":["CP1"]}}}`:         {true, true},
		`{"access_token":{"xms_cc":{"values":["CP1"]}},"id_token":{"acr":{"value":"x"}}}`: {true, true},
		`rain`: {false, true},
	} {
		if cae, challenge := readClaims(text); [2]bool{cae, challenge} != want {
			t.Errorf("%s: CAE %t, challenge %t", text, cae, challenge)
		}
	}
}

// A dead connection takes what is written and says nothing; a new one works.
func TestDeadConnectionsAreSilent(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	got := make(chan string, 4)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 16)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					got <- string(buffer[:n])
					_, _ = conn.Write([]byte("yes"))
				}
			}()
		}
	}()
	var all connections
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return all.keep(conn)
	}
	old := dial()
	defer old.Close()
	all.deaden(t.Context(), nil)
	if n, err := old.Write([]byte("old")); n != 3 || err != nil {
		t.Errorf("a dead connection takes %d bytes: %v", n, err)
	}
	_ = old.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := old.Read(make([]byte, 8)); err == nil {
		t.Error("a dead connection speaks")
	}
	fresh := dial()
	if _, err := fresh.Write([]byte("new")); err != nil || <-got != "new" {
		t.Errorf("a new connection does not work: %v", err)
	}
	fresh.Close()
	if len(all.all) != 1 {
		t.Errorf("%d connections are kept, want the open one", len(all.all))
	}
}

// Each way does what its name says, and a request that hangs ends with it.
func TestEgressMisbehaves(t *testing.T) {
	e := &egress{base: http.RoundTripper(nil)}
	ask := func(how string) (resp *http.Response, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = &panicked{r}
			}
		}()
		e.set(how)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://login.microsoftonline.com",
			strings.NewReader("x"))
		if how == egressHangs {
			time.AfterFunc(10*time.Millisecond, func() { e.set(egressWell) })
		}
		return e.RoundTrip(req)
	}
	for how, want := range map[string]string{egressRefused: "connection refused", egressHangs: "connection reset",
		egressPanics: transportPanic} {
		if _, err := ask(how); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", how, err)
		}
	}
	if resp, err := ask(egressNil); resp != nil || err != nil {
		t.Errorf("%v, %v", resp, err)
	}
	if resp, err := ask(egressBodyless); err != nil || resp.Body != nil {
		t.Errorf("%v, %v", resp, err)
	}
	if resp, err := ask(egressProxy); err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "3600" {
		t.Errorf("%v, %v", resp, err)
	}
}
