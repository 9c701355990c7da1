package msaldoc

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// NoCapabilities are the Capabilities of a token that was asked for without any.
const NoCapabilities = "none"

// Serves tells whether an access token is for clients that declare these capabilities. One of which it is not known
// counts as asked for without any.
func (e Entry) Serves(declared string) bool {
	return cmp.Or(e.Capabilities, NoCapabilities) == declared
}

// SelfDeclared are the capabilities that an access token itself names; "": none, or it cannot be read. Resources read
// them there, so one that may be refused with a challenge names them.
func SelfDeclared(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !gjson.ValidBytes(payload) {
		return ""
	}
	values := gjson.GetBytes(payload, "xms_cc").Array()
	if len(values) == 0 || slices.ContainsFunc(values, func(v gjson.Result) bool { return v.Type != gjson.String }) {
		return ""
	}
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = v.Str
	}
	b, _ := json.Marshal(map[string][]string{"values": text}) // as package tokenreq writes what MSAL sends
	return string(b)
}
