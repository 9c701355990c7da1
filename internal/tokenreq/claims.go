package tokenreq

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// splitClaims tells capabilities, which CAE clients send with every request, from a challenge. newer: it names but the
// time from which on a token must be valid. Claims that can be read in two ways are a challenge, and nothing else.
func splitClaims(text string) (capabilities, challenge string, newer bool) {
	if text == "" {
		return "", "", false
	}
	var claims map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if !json.Valid([]byte(text)) || d.Decode(&claims) != nil || !unambiguous(gjson.Parse(text)) {
		return "", string(layout.HashID("claims", text)), false
	}
	if access, ok := claims["access_token"].(map[string]any); ok {
		if cc, ok := access["xms_cc"]; ok {
			b, _ := json.Marshal(cc)
			capabilities = string(b)
			delete(access, "xms_cc")
		}
		if len(access) == 0 {
			delete(claims, "access_token")
		}
		newer = len(claims) == 1 && len(access) == 1 && access["nbf"] != nil
	}
	if len(claims) == 0 {
		return capabilities, "", false
	}
	b, _ := json.Marshal(claims) // maps marshal with sorted keys
	return capabilities, string(layout.HashID("claims", string(b))), newer
}
