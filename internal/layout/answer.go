package layout

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// AnswerHead is what is kept of an answer of a token endpoint, on a line before its body.
type AnswerHead struct {
	Status   int               `json:"status"`
	Header   map[string]string `json:"header,omitempty"`
	Started  int64             `json:"started"` // when its request started, in microseconds of Redis time
	Received int64             `json:"received"`
	Until    int64             `json:"until,omitempty"`    // nobody should ask again before
	Failures int               `json:"failures,omitempty"` // in a row
	Of       string            `json:"of,omitempty"`       // the grant, or a refresh token's hash

	// Whose request it was, for the person who looks: the answer of client_credentials does not say. Absent in what
	// older versions kept.
	Grant  string `json:"grant,omitempty"` // with which the token was first asked for
	Client string `json:"client,omitempty"`
	Tenant string `json:"tenant,omitempty"`
	Scopes string `json:"scopes,omitempty"`
}

// EncodeAnswer makes the content of a record.
func EncodeAnswer(h AnswerHead, body []byte) []byte {
	b, _ := json.Marshal(h) // of strings and numbers: always marshals
	return append(append(b, '\n'), body...)
}

// DecodeAnswer takes the content of a record apart. The body shares its memory.
func DecodeAnswer(content []byte) (AnswerHead, []byte, error) {
	head, body, ok := bytes.Cut(content, []byte("\n"))
	var h AnswerHead
	if !ok || json.Unmarshal(head, &h) != nil {
		return AnswerHead{}, nil, ErrRecord
	}
	if h.Status < 100 || h.Status > 599 {
		return AnswerHead{}, nil, ErrRecord
	}
	return h, body, nil
}

// HomeAccount is the account of an answer's client_info, as MSAL names it; "" for an app's.
func HomeAccount(body []byte) string {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(gjson.GetBytes(body, "client_info").String(), "="))
	if err != nil || !gjson.ValidBytes(raw) {
		return ""
	}
	uid, utid := gjson.GetBytes(raw, "uid").String(), gjson.GetBytes(raw, "utid").String()
	if uid == "" {
		return ""
	}
	if utid == "" {
		utid = uid
	}
	return uid + "." + utid
}

// SubjectsOf are the accounts that a user's token, an assertion or an id_token, may be of where no client_info names
// one: oid and tid are what Entra ID makes client_info of, but for a guest, and MSAL takes the subject for the account.
// None: it is no JWT, or names nobody.
func SubjectsOf(jwt string) []string {
	_, rest, _ := strings.Cut(jwt, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil || !gjson.ValidBytes(raw) {
		return nil
	}
	var accounts []string
	claims := gjson.ParseBytes(raw)
	if oid, tid := claims.Get("oid").String(), claims.Get("tid").String(); oid != "" && tid != "" {
		accounts = append(accounts, oid+"."+tid)
	}
	if sub := claims.Get("sub").String(); sub != "" {
		accounts = append(accounts, sub)
	}
	return accounts
}
