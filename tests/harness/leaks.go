package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// least is the length of what is looked for; what is shorter is found everywhere.
const least = 12

// Leaked are the secrets found in the text: what they are, by hash, and the start of the line they are in. The test's
// own log must not show them either.
func (c *Canaries) Leaked() (leaks []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// By their ends: what is looked for shares beginnings ("eyJ0eXAiOiJKV1Qi"), and a whole run knows tens of
	// thousands.
	ends := map[[least]byte][]string{}
	for s := range c.known {
		end := [least]byte([]byte(s[len(s)-least:]))
		ends[end] = append(ends[end], s)
	}
	text := c.text.Bytes()
	found := map[string]bool{}
	for i := least; i <= len(text); i++ {
		for _, s := range ends[[least]byte(text[i-least:i])] {
			if found[s] || !bytes.HasSuffix(text[:i], []byte(s)) {
				continue
			}
			found[s] = true
			start := text[bytes.LastIndexByte(text[:i-len(s)], '\n')+1 : i-len(s)]
			leaks = append(leaks, fmt.Sprintf("%s, %d bytes, sha256 %s, after %q",
				c.known[s], len(s), HashOf(s), words.ReplaceAll(start, []byte("..."))))
		}
	}
	if c.quoting != nil {
		leaks = append(leaks, c.quoting.Leaked()...)
	}
	return leaks
}

func (c *Canaries) verdict() int {
	leaks := c.Leaked()
	for _, l := range leaks {
		fmt.Println("FAIL: the library wrote a", l)
	}
	return min(len(leaks), 1)
}

var words = regexp.MustCompile(`[^\s"=:,]{12,}`)

// Forbid adds what may not be in the text, in the forms that a careless line would give it.
func (c *Canaries) Forbid(what string, secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range secrets {
		if len(s) < least {
			continue
		}
		quoted := strconv.Quote(s)
		twice := strconv.Quote(quoted[1 : len(quoted)-1]) // an error that quotes it, in a log that quotes the error
		marshalled, _ := json.Marshal(s)
		for _, form := range []string{
			s, url.QueryEscape(s), quoted[1 : len(quoted)-1], string(marshalled[1 : len(marshalled)-1]),
			twice[1 : len(twice)-1],
		} {
			c.known[form] = what
		}
	}
}

// Issued forbids what an emulator has given out or was sent, and MSAL's names of on-behalf-of partitions.
func (c *Canaries) Issued(secrets []string) {
	c.Forbid("secret or token", secrets...)
	for _, s := range secrets {
		if strings.Count(s, ".") == 2 {
			h := sha256.Sum256([]byte(s))
			c.Forbid("partition", base64.StdEncoding.EncodeToString(h[:]), base64.URLEncoding.EncodeToString(h[:]))
		}
	}
}

// Named forbids what a token request says of whom it is for: the raw names of partitions are made of it. Of what it
// sends no answer may show anything.
func (c *Canaries) Named(r entratest.Request) {
	for _, field := range []string{
		"client_secret", "client_assertion", "assertion", "refresh_token", "code", "code_verifier",
		"user_federated_identity_credential",
	} {
		c.quoting.Forbid(field+" that was sent", r.Form[field]...)
	}
	if strings.Count(r.Tenant, "-") == 4 { // else "common" and the like
		c.Forbid("tenant", r.Tenant)
		c.Forbid("partition", r.ClientID+"_"+r.Tenant+"_AppTokenCache")
	}
	c.Forbid("partition", r.User)
}

func (c *Canaries) User(u entratest.User) {
	c.Forbid("user", u.ObjectID, u.Username)
	c.Forbid("partition", u.HomeAccountID())
}

// Records forbids what stands in Redis, sealed as it is.
func (c *Canaries) Records(rdb redis.UniversalClient, keys []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, key := range keys {
		var values []string
		switch {
		case strings.HasSuffix(key, ":tokens"):
			values = rdb.HVals(ctx, key).Val()
		case strings.HasSuffix(key, ":response"), strings.HasSuffix(key, ":pause"):
			values = []string{rdb.Get(ctx, key).Val()}
		}
		for _, v := range values {
			if len(v) > HeaderSize+least { // of a tombstone there is less, and nothing sealed
				sealed := v[len(HeadOf(v)):]
				c.Forbid("record", sealed, base64.StdEncoding.EncodeToString([]byte(sealed)),
					base64.RawURLEncoding.EncodeToString([]byte(sealed)))
			}
		}
	}
}

// forbidRecords tells the canary what stands in Redis at the end of a test, if it still answers.
func (w *World) forbidRecords() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	keys, _ := w.Redis.Keys(ctx, w.Prefix+":*")
	Canary.Records(w.Redis.Admin, keys)
}
