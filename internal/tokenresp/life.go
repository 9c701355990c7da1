package tokenresp

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Judge works out what an answer means. One that cannot be shared because it is not understood is not good: it goes
// to those who wait for it, untouched.
func (a *Answer) Judge() {
	a.Good = false
	if a.Status != http.StatusOK || !gjson.ValidBytes(a.Body) {
		return
	}
	doc := gjson.ParseBytes(a.Body)
	if !doc.IsObject() || ambiguous(doc) || doc.Get("access_token").Type != gjson.String ||
		doc.Get("access_token").Str == "" {
		return
	}
	life := number(doc.Get("expires_in"))
	if life < -lifeAtMost || life > lifeAtMost {
		return
	}
	a.Expires = a.Started.Add(time.Duration(life) * time.Second)
	// MSAL lets expires_on win (accesstokens.TokenResponse.UnmarshalJSON); Entra ID's is in its own time.
	if on := doc.Get("expires_on"); on.Exists() && on.Type != gjson.Null && on.String() != "" {
		n := number(on)
		if n <= 0 || n > a.Started.Seconds()+lifeAtMost {
			return // a date: MSAL understands more than we do
		}
		a.Expires = redistime.OfSeconds(n)
	}
	if a.Expires <= a.Received {
		return
	}
	if in := number(doc.Get("refresh_in")); in > 0 && in <= lifeAtMost {
		a.Due = a.Started.Add(time.Duration(in) * time.Second)
	}
	a.Good = true
}

// lifeAtMost bounds a token's life, in seconds: a longer one is no server's, and does not fit in microseconds.
const lifeAtMost = 100 * 365 * 24 * 3600

// read are the members of an answer that this package reads.
var read = map[string]bool{
	"access_token": true, "refresh_token": true, "id_token": true, "client_info": true, "token_type": true,
	"scope": true, "foci": true, "expires_in": true, "expires_on": true, "ext_expires_in": true, "refresh_in": true,
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

// Usable tells whether MSAL would take the token at a time of Redis.
func (a *Answer) Usable(now redistime.Time) bool {
	return a != nil && a.Good && a.Expires.Sub(now) > msaldoc.LastMinutes
}

// Alive tells whether the token has life left at a time of Redis, if less than MSAL wants.
func (a *Answer) Alive(now redistime.Time) bool {
	return a != nil && a.Good && a.Expires.Sub(now) > time.Second
}

// Over tells whether a token must not be handed out any more at a time of Redis: its end has come, or comes while it is
// told.
func (a *Answer) Over(now redistime.Time) bool {
	return a != nil && a.Good && a.Expires.Sub(now) <= min(time.Second, a.Expires.Sub(a.Started)/2)
}

// IsDue tells whether the token should be refreshed at a time of Redis.
func (a *Answer) IsDue(now redistime.Time) bool { return a.Due > 0 && now >= a.Due }
