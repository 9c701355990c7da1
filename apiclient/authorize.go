package apiclient

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// attempt sends the request with a token, and answers a challenge.
func (t *transport) attempt(c *call) (*http.Response, error) {
	if c.r.URL == nil || c.r.Header == nil || originOf(c.r.URL) != t.origin {
		return t.send(c, "") // without the one or the other net/http sends nothing and says so
	}
	token, err := t.ask(c, "")
	if err != nil {
		return nil, err
	}
	resp, err := t.send(c, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	// Of many requests that are refused at once, one asks for the new token, and those that come later find it: so look
	// before asking.
	newer, err := t.ask(c, "")
	if err == nil && newer != token {
		if !c.repeatable() {
			// Whether it would do cannot be tried. It does if it is the answer to a challenge.
			if latest := t.answered.Load(); latest != nil && *latest == newer {
				return resp, nil
			}
		} else {
			drain(resp)
			if resp, err = t.send(c, newer); err != nil || resp.StatusCode != http.StatusUnauthorized {
				return resp, err
			}
		}
	}
	// Another token is not always a newer one, so a challenge is answered even then.
	var answer string
	if err == nil {
		claims := claimsOf(resp.Header)
		if claims == "" || c.challenged {
			return resp, nil
		}
		c.challenged = true
		answer, err = t.ask(c, claims)
	}
	if err != nil {
		drain(resp)
		return nil, err
	}
	t.answered.Store(&answer)
	if !c.repeatable() {
		return resp, nil // the caller's next request has the token
	}
	drain(resp)
	return t.send(c, answer)
}

func (t *transport) ask(c *call, claims string) (string, error) {
	o := t.token
	o.Claims = claims
	token, err := t.cred.GetToken(c.r.Context(), o)
	if err != nil {
		c.over = true // the credential has done what can be done
		return "", fmt.Errorf("apiclient: no token for the API: %w", err)
	}
	return token.Token, nil
}

// originOf is RFC 6454's: what a token is bound to.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" && u.Scheme == "https" {
		port = "443"
	}
	return u.Scheme + "://" + strings.Map(small, u.Hostname()) + ":" + port
}

// small makes ASCII's letters small and leaves all others: to Unicode the small form of İ is i, and in the name of a
// host it stands for another one (UTS 46, by which net/http asks DNS).
func small(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
