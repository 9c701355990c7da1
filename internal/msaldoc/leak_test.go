package msaldoc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const canary = "c4n4ry-0f-4-s3cr3t"

// What is printed, logged or encoded of entries, and what errors say, holds no token, no user and no name of an entry.
func TestEntriesDoNotLeak(t *testing.T) {
	entry := mustEntry(t, SectionAccessToken, canary+"-key", `{"secret":"`+canary+`","home_account_id":"`+canary+`"}`)
	var said bytes.Buffer
	type open struct {
		Entry   Entry
		Entries map[string][]Entry
		Pointer *Entry
	}
	for _, v := range []any{entry, &entry, []Entry{entry}, open{entry, map[string][]Entry{"a": {entry}}, &entry}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%#x"} {
			fmt.Fprintf(&said, verb+"\n", v)
		}
		b, _ := json.Marshal(v)
		said.Write(b)
		for _, h := range []slog.Handler{slog.NewTextHandler(&said, nil), slog.NewJSONHandler(&said, nil)} {
			slog.New(h).Info("m", "value", v, slog.Group("g", "value", v))
		}
	}
	for _, doc := range []string{canary, `{"AccessToken":{"` + canary + `":{"secret":"` + canary, `["` + canary + `"]`} {
		_, err := Parse([]byte(doc))
		_, err2 := NewEntry(SectionAccessToken, canary, []byte(doc))
		if err == nil || err2 == nil {
			t.Error("an error was expected")
		}
		fmt.Fprintf(&said, "%v\n%+v\n%#v\n%v\n%+v\n%#v\n", err, err, err, err2, err2, err2)
	}
	for name, form := range map[string]string{
		"text":    canary,
		"base64":  base64.StdEncoding.EncodeToString([]byte(canary))[:12],
		"hex":     fmt.Sprintf("%x", canary),
		"HEX":     fmt.Sprintf("%X", canary),
		"bytes":   strings.Trim(fmt.Sprint([]byte(canary)), "[]"),
		"literal": strings.Trim(fmt.Sprintf("%#v", []byte(canary[:4])), "[]byte{}"),
	} {
		if at := strings.Index(said.String(), form); at >= 0 {
			t.Errorf("%s of the secret is in:\n%s", name, said.String()[max(0, at-200):at+len(form)])
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if e := fmt.Sprintf(verb, entry); e != "Entry(AccessToken)" {
			t.Errorf("%s: %s", verb, e)
		}
	}
	if b, err := json.Marshal([]any{entry}); string(b) != `["Entry(AccessToken)"]` {
		t.Errorf("%s %v", b, err)
	}
	if e := entry.LogValue().String(); e != "Entry(AccessToken)" {
		t.Error(e)
	}
	if !strings.Contains(said.String(), "Entry(AccessToken)") {
		t.Error("the test looks at nothing")
	}
}
