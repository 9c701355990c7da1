package apiclient

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// claimsOf is what a claims challenge asks for, as JSON, or "".
// https://learn.microsoft.com/entra/identity-platform/claims-challenge
func claimsOf(h http.Header) string {
	for _, value := range h.Values("WWW-Authenticate") {
		for _, c := range challenges(value) {
			if !strings.EqualFold(c.scheme, "Bearer") {
				continue
			}
			// Base64 of either alphabet, padded or not: APIs differ.
			text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(c.params["claims"]), "=")
			claims, err := base64.RawStdEncoding.DecodeString(text)
			var object map[string]any
			if err == nil && json.Unmarshal(claims, &object) == nil && len(object) > 0 {
				return string(claims)
			}
		}
	}
	return ""
}

type challenge struct {
	scheme string
	params map[string]string // names in lower case
}

// challenges reads the list of RFC 9110 section 11.6.1. A word that "=" follows is a parameter, any other a scheme;
// what is no list is read as far as it goes.
func challenges(s string) (list []challenge) {
	for {
		s = strings.TrimLeft(s, " \t,")
		n := strings.IndexAny(s, " \t,=")
		if n < 0 {
			n = len(s)
		}
		word := s[:n]
		if s = strings.TrimLeft(s[n:], " \t"); !strings.HasPrefix(s, "=") {
			if word == "" {
				return list
			}
			list = append(list, challenge{word, map[string]string{}})
			continue
		}
		var value string
		value, s = parameter(strings.TrimLeft(s[1:], " \t"))
		if len(list) > 0 {
			list[len(list)-1].params[strings.ToLower(word)] = value
		}
	}
}

// parameter reads a token or a quoted string.
func parameter(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		n := strings.IndexAny(s, " \t,")
		if n < 0 {
			n = len(s)
		}
		return s[:n], s[n:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
