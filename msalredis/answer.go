package msalredis

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// answerAtMost bounds a token endpoint's answer. Real ones have 2 to 10 KB.
const answerAtMost = 1 << 20

var errTooLarge error = &gateError{text: "the token endpoint's answer is larger than 1 MiB"}

// answer is what a token endpoint said, or the pause it asked for.
type answer struct {
	status   int
	header   map[string]string
	body     []byte
	started  int64 // Redis's time, microseconds: when its request started
	received int64
	stamp    int64 // orders it among others: the lease's fence, or started
	err      error // there was no answer, but this
	// own: it speaks of this process and its way to the token endpoint, not of the endpoint, and is nobody else's. No answer, or one
	// that somebody else gave in the endpoint's place.
	own bool
	by  *gate // whose base transport brought it; nil: it was read from Redis

	// Of a good answer, in microseconds of Redis's time:
	good    bool  // a token with a life
	expires int64 // the end of its life
	due     int64 // when it should be refreshed; 0: never
	// Of a bad one:
	until    int64 // nobody should ask again before
	failures int   // how many in a row, this one included, for reasons that pass
	// of is what was refused: the credential, or else the grant, for an on-behalf-of answer is asked for by two, or the
	// refresh token, by its hash.
	of string

	latest atomic.Pointer[aged]
}

// aged is an answer's body at an age, in seconds. All who have waited for an answer read the same.
type aged struct {
	age  int64
	body []byte
}

// Headers worth handing on. The rest speaks of a connection that its receiver did not have.
var keptHeaders = []string{"Content-Type", "Content-Encoding", "Retry-After", "X-Ms-Request-Id", "Www-Authenticate"}

// headerAtMost bounds one of them, in bytes.
const headerAtMost = 4 << 10

const second = int64(time.Second / time.Microsecond)

// readAnswer makes an answer of a response to req.
func readAnswer(req *http.Request, resp *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerAtMost+1))
	if err != nil {
		return nil, err
	}
	if len(body) > answerAtMost {
		return nil, errTooLarge
	}
	a := &answer{status: resp.StatusCode, body: body, header: map[string]string{}}
	for _, h := range keptHeaders {
		if v := resp.Header.Get(h); v != "" && len(v) <= headerAtMost {
			a.header[h] = v
		}
	}
	if to := redirection(req, resp); to != "" {
		a.header["Location"] = to
	}
	a.own = !a.fromEndpoint(resp.Header.Get("X-Ms-Ests-Server") != "")
	return a, nil
}

// judge works out what an answer means. One that cannot be shared because it is not understood is not good: it goes
// to those who wait for it, untouched.
func (a *answer) judge() {
	a.good = false
	if a.err != nil || a.status != http.StatusOK || !gjson.ValidBytes(a.body) {
		return
	}
	doc := gjson.ParseBytes(a.body)
	if !doc.IsObject() || ambiguous(doc) || doc.Get("access_token").Type != gjson.String || doc.Get("access_token").Str == "" {
		return
	}
	life := number(doc.Get("expires_in"))
	if life < -lifeAtMost || life > lifeAtMost {
		return
	}
	a.expires = a.started + life*second
	// MSAL lets expires_on win (accesstokens.TokenResponse.UnmarshalJSON); Entra ID's is in its own time.
	if on := doc.Get("expires_on"); on.Exists() && on.Type != gjson.Null && on.String() != "" {
		n := number(on)
		if n <= 0 || n > a.started/second+lifeAtMost {
			return // a date: MSAL understands more than we do
		}
		a.expires = n * second
	}
	if a.expires <= a.received {
		return
	}
	if in := number(doc.Get("refresh_in")); in > 0 && in <= lifeAtMost {
		a.due = a.started + in*second
	}
	a.good = true
}

// lifeAtMost bounds a token's life, in seconds: a longer one is no server's, and does not fit in microseconds.
const lifeAtMost = 100 * 365 * 24 * 3600

// read are the members of an answer that this package reads.
var read = map[string]bool{
	"access_token": true, "refresh_token": true, "id_token": true, "client_info": true, "token_type": true, "scope": true, "foci": true,
	"expires_in": true, "expires_on": true, "ext_expires_in": true, "refresh_in": true,
}

// ambiguous tells whether a member that is read is there twice, or in other letters. MSAL's encoding/json takes the
// last and does not look at the case, gjson takes the first and does: they would read two tokens in one answer.
func ambiguous(doc gjson.Result) bool {
	seen := map[string]bool{}
	odd := false
	doc.ForEach(func(key, _ gjson.Result) bool {
		folded := strings.ToLower(strings.ToUpper(key.Str)) // both, as encoding/json folds: "ſ" is an s to it
		odd = read[folded] && (key.Str != folded || seen[folded])
		seen[folded] = true
		return !odd
	})
	return odd
}

// number is a JSON number, or one in a string as Entra ID's v1 endpoint sends it; 0 for anything else.
func number(v gjson.Result) int64 {
	switch v.Type {
	case gjson.Number:
		n, err := strconv.ParseInt(v.Raw, 10, 64)
		if err == nil {
			return n
		}
	case gjson.String:
		n, err := strconv.ParseInt(v.Str, 10, 64)
		if err == nil {
			return n
		}
	}
	return 0
}

// usable tells whether MSAL would take the token at a time of Redis.
func (a *answer) usable(us int64) bool {
	return a != nil && a.good && a.expires-us > int64(lastMinutes/time.Microsecond)
}

// alive tells whether the token has life left at a time of Redis, if less than MSAL wants.
func (a *answer) alive(us int64) bool { return a != nil && a.good && a.expires-us > second }

// over tells whether a token must not be handed out any more at a time of Redis: its end has come, or comes while it is told.
func (a *answer) over(us int64) bool {
	return a != nil && a.good && a.expires-us <= min(second, (a.expires-a.started)/2)
}

// addRefreshIn writes refresh_in into an answer whose server sent none, so that a token is refreshed while it still
// serves: a share of its usable life, and at least a second before the end of that.
func (a *answer) addRefreshIn(share float64) {
	if !a.good || a.due != 0 {
		return
	}
	usable := (a.expires-a.started)/second - int64(lastMinutes/time.Second)
	in := min(int64(share*float64(usable)), usable-1)
	if in < 1 {
		return
	}
	a.due = a.started + in*second
	a.body = setMember(a.body, "refresh_in", formatInt(in))
}

// response is the answer for a caller, at a time of Redis: with the life that is left. soon: it is due, and is
// being refreshed, so MSAL shall ask again shortly; not before the refresh can have ended.
func (a *answer) response(req *http.Request, us int64, soon bool) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	body := a.body
	header := http.Header{}
	for k, v := range a.header {
		header.Set(k, v)
	}
	if a.good {
		age := max(0, us-a.started)
		if age >= second && !a.usable(us) {
			age += second - 1 // to its end: a second too early, not too late
		}
		body = a.bodyAt(age / second)
		if soon {
			in := min(5+rand.Int64N(26), max(1, (a.expires-us)/second-int64(lastMinutes/time.Second)))
			body = setMember(body, "refresh_in", formatInt(in))
		}
	}
	if !a.good && a.passing() && a.until > 0 {
		// Not longer than what was asked for, by a clock that is a little behind the one that began to count.
		left := max(1, (min(a.until-us, a.until-a.received)+second-1)/second)
		header.Set("Retry-After", formatInt(left))
	}
	return &http.Response{
		Status:        strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode:    a.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}, nil
}

// bodyAt is a good answer's body with its times reduced by an age in seconds.
func (a *answer) bodyAt(age int64) []byte {
	if held := a.latest.Load(); held != nil && held.age == age {
		return held.body
	}
	body := a.body
	for _, name := range []string{"expires_in", "ext_expires_in", "refresh_in"} {
		if v := gjson.GetBytes(body, name); number(v) > 0 {
			body = splice(body, v, formatInt(max(number(v)-age, 1)))
		}
	}
	a.latest.Store(&aged{age, body})
	return body
}

// setMember sets a member of a JSON object to a number, as a string where it was one; every other byte stays.
func setMember(object []byte, name, number string) []byte {
	if v := gjson.GetBytes(object, name); v.Exists() {
		return splice(object, v, number)
	}
	end := bytes.LastIndexByte(object, '}')
	if end < 0 {
		return object
	}
	comma := ","
	if len(gjson.ParseBytes(object).Map()) == 0 {
		comma = ""
	}
	out := append([]byte(nil), object[:end]...)
	out = append(out, comma+`"`+name+`":`+number...)
	return append(out, object[end:]...)
}

// splice replaces a value that gjson has found in object by a number; a string stays a string.
func splice(object []byte, v gjson.Result, number string) []byte {
	if !v.Exists() || v.Index <= 0 || v.Index+len(v.Raw) > len(object) {
		return object
	}
	if v.Type == gjson.String {
		number = `"` + number + `"`
	}
	out := append([]byte(nil), object[:v.Index]...)
	out = append(out, number...)
	return append(out, object[v.Index+len(v.Raw):]...)
}

// encode is the stored form of an answer to a request.
func (a *answer) encode(r *tokenRequest) []byte {
	h := layout.AnswerHead{Status: a.status, Header: a.header, Started: a.started, Received: a.received, Until: a.until, Failures: a.failures, Of: a.of,
		Grant: r.Kind.FirstGrant(), Client: r.Client, Tenant: r.realms[0], Scopes: r.Scopes.String()}
	return layout.EncodeAnswer(h, a.body)
}

func decodeAnswer(content []byte, stamp int64) (*answer, error) {
	h, body, err := layout.DecodeAnswer(content)
	if err != nil {
		return nil, err
	}
	a := &answer{status: h.Status, header: h.Header, body: body, started: h.Started, received: h.Received, until: h.Until, failures: max(h.Failures, 0), of: h.Of, stamp: stamp}
	a.judge()
	return a, nil
}

// gateError is an error of the gate's own making. azcore would retry it for ten seconds under a mutex.
type gateError struct {
	text  string
	cause error // may be nil
}

func (e *gateError) Error() string {
	if e.cause != nil {
		return "msalredis: " + e.text + ": " + e.cause.Error()
	}
	return "msalredis: " + e.text
}

func (e *gateError) Unwrap() error { return e.cause }

// failClosed is an error of Redis as callers get it where Options.FailClosed is set; doing says what met it.
func failClosed(doing string, err error) error {
	return &gateError{text: "Redis failed, and Options.FailClosed is set: " + doing, cause: err}
}

// NonRetriable marks the error for the Azure SDK (azcore/internal/errorinfo.NonRetriable).
func (e *gateError) NonRetriable() {}

// errRedisLogin is what entralogin gets whose credential asks here. The token might open another Redis than this one, which
// nothing tells; it needs no sharing there either.
var errRedisLogin error = &gateError{text: "a token that opens Redis is not looked for in Redis: give entralogin a credential of its own, " +
	"without this Cache's accessor and HTTP client"}

// localAnswer is an OAuth error that the gate answers with itself (RFC 6749 section 5.2).
func localAnswer(code, description string, us int64) *answer {
	body, _ := json.Marshal(map[string]string{"error": code, "error_description": "msalredis: " + description})
	return &answer{status: http.StatusBadRequest, body: body, header: map[string]string{"Content-Type": "application/json; charset=utf-8"}, started: us, received: us}
}

// signedOut is the answer to a refresh token whose account has signed out.
func signedOut(us int64) *answer {
	return localAnswer("invalid_grant", "the account has signed out", us)
}

// member is a string member of the answer's body.
func (a *answer) member(name string) string {
	if v := gjson.GetBytes(a.body, name); v.Type == gjson.String {
		return v.Str
	}
	return ""
}

// owners are the partitions of the user whom the answer names; none: it names nobody.
func (a *answer) owners() []id {
	if account := layout.HomeAccount(a.body); account != "" {
		return []id{layout.PartitionID(account)}
	}
	return subjects(a.member("id_token"))
}

// subjects are the partitions of the user whom a token names.
func subjects(jwt string) []id {
	var pids []id
	for _, account := range layout.SubjectsOf(jwt) {
		pids = append(pids, layout.PartitionID(account))
	}
	return pids
}

// oauthError is the error code of a refused request.
func (a *answer) oauthError() string {
	if a.err != nil || a.status < 400 || !gjson.ValidBytes(a.body) {
		return ""
	}
	return strings.ToLower(a.member("error"))
}

// credentialRefused tells whether an answer refuses the client's credential, rather than what it asks for
// (RFC 6749 section 5.2; AADSTS7000xx: https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func (a *answer) credentialRefused() bool {
	switch a.oauthError() {
	case "invalid_client", "unauthorized_client":
		return true
	case "invalid_request": // AADSTS7000218: there is none
	default: // AADSTS700082, an invalid_grant, is of a refresh token
		return false
	}
	for _, code := range gjson.GetBytes(a.body, "error_codes").Array() {
		if strings.HasPrefix(code.Raw, "7000") && len(code.Raw) > len("7000") {
			return true
		}
	}
	return false
}
