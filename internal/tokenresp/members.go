package tokenresp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Member is a string member of the answer's body.
func (a *Answer) Member(name string) string {
	if v := gjson.GetBytes(a.Body, name); v.Type == gjson.String {
		return v.Str
	}
	return ""
}

// Owners are the partitions of the user whom the answer names; none: it names nobody.
func (a *Answer) Owners() []layout.ID {
	if account := layout.HomeAccount(a.Body); account != "" {
		return []layout.ID{layout.PartitionID(account)}
	}
	return Subjects(a.Member("id_token"))
}

// Subjects are the partitions of the user whom a token names.
func Subjects(jwt string) []layout.ID {
	var pids []layout.ID
	for _, account := range layout.SubjectsOf(jwt) {
		pids = append(pids, layout.PartitionID(account))
	}
	return pids
}

// Number is a numeric member of the answer's body.
func (a *Answer) Number(name string) int64 { return number(gjson.GetBytes(a.Body, name)) }

// OAuthError is the error code of a refused request.
func (a *Answer) OAuthError() string {
	if a.Status < 400 || !gjson.ValidBytes(a.Body) {
		return ""
	}
	return strings.ToLower(a.Member("error"))
}

// NameUser adds the client_info that an answer lacks, without which MSAL takes a user's token for an app's.
func (a *Answer) NameUser(account string) {
	end := bytes.LastIndexByte(a.Body, '}')
	if a.Member("client_info") != "" || strings.Count(account, ".") != 1 || end < 0 {
		return
	}
	out := append([]byte(nil), a.Body[:end]...)
	out = append(out, `,"client_info":"`+ClientInfo(account)+`"`...)
	a.Body = append(out, a.Body[end:]...)
}

// ClientInfo is the client_info that MSAL makes a home account id of.
func ClientInfo(account string) string {
	uid, utid, _ := strings.Cut(account, ".")
	b, _ := json.Marshal(map[string]string{"uid": uid, "utid": utid})
	return base64.RawURLEncoding.EncodeToString(b)
}
