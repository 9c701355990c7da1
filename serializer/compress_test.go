package serializer

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// jwt is text like an access token of some 2 KB: two JSON parts and a signature, in base64url.
func jwt() string {
	sig := make([]byte, 256)
	rand.Read(sig)
	oid := make([]byte, 16)
	rand.Read(oid)
	part := base64.RawURLEncoding.EncodeToString
	return part(fmt.Appendf(nil, `{"typ":"JWT","nonce":"%s","alg":"RS256","x5t":"%s","kid":"%s"}`, part(sig[:32]),
		part(sig[:20]), part(sig[:20]))) + "." +
		part(fmt.Appendf(nil, `{"aud":"https://graph.microsoft.com","iss":"https://sts.windows.net/%x/","iat":1795487281,`+
			`"nbf":1795487281,"exp":1795491181,"acct":0,"acr":"1","aio":"%s","amr":["pwd","mfa"],`+
			`"app_displayname":"An application","appid":"%x","appidacr":"1","family_name":"Lovelace","given_name":"Ada",`+
			`"idtyp":"user","ipaddr":"203.0.113.7","name":"Ada Lovelace","oid":"%x","platf":"3","puid":"10032000ABCDEF01",`+
			`"rh":"%s","scp":"Calendars.Read email Files.Read.All Mail.Read openid profile User.Read","sub":"%s",`+
			`"tenant_region_scope":"EU","tid":"%x","unique_name":"ada@contoso.com","upn":"ada@contoso.com","uti":"%s",`+
			`"ver":"1.0","wids":["b79fbf4d-3ef9-4689-8143-76b194e85509"],"xms_idrel":"1 26","xms_tcdt":1500000000}`,
			oid, part(sig[:60]), oid, oid, part(sig[:40]), part(sig[:32]), oid, part(sig[:16]))) + "." + part(sig)
}

func TestTokensShrink(t *testing.T) {
	random := make([]byte, 800)
	rand.Read(random)
	for name, test := range map[string]struct {
		text string
		most float64 // of its size
	}{
		"a JWT":           {jwt(), 0.75},
		"a refresh token": {"1.AQ8A" + base64.RawURLEncoding.EncodeToString(random), 0.77},
	} {
		codec, body := compress([]byte(test.text))
		if share := float64(len(body)) / float64(len(test.text)); codec != codecS2 || share > test.most {
			t.Errorf("%s shrinks to %.2f of %d bytes, want at most %.2f", name, share, len(test.text), test.most)
		}
	}
}

// What does not shrink stays as it is.
func TestNoiseIsNotCompressed(t *testing.T) {
	noise := make([]byte, 1000)
	rand.Read(noise)
	for _, text := range [][]byte{noise, nil, []byte("short"), make([]byte, compressUpTo+1)} {
		if codec, body := compress(text); codec != codecNone || !bytes.Equal(body, text) {
			t.Errorf("%d bytes were compressed", len(text))
		}
	}
}

// A value that would grow without bound, or that is not what it says, is an error, and takes little memory.
func TestABombDoesNotOpen(t *testing.T) {
	bomb := func(packed []byte) []byte { return s2dict().Encode(nil, packed) }
	for name, body := range map[string][]byte{
		"64 MiB of zeros":          bomb(make([]byte, 64<<20)),
		"more when base64 is done": bomb(append([]byte{0}, appendBytes(nil, make([]byte, compressUpTo-16))...)),
		"a length beyond the end":  bomb([]byte{200, 1, 'x'}),
		"a length of no end":       bomb(bytes.Repeat([]byte{0xff}, 20)),
		"not S2":                   []byte("\xff\xff\xff\xff\x0fnot a block"),
		"nothing":                  nil,
	} {
		text, err := decompress(codecS2, body)
		if !errors.Is(err, ErrCorrupt) || text != nil {
			t.Errorf("%s: %d bytes and %v, want ErrCorrupt", name, len(text), err)
		}
	}
}

func FuzzPack(f *testing.F) {
	seeds := []string{"", "a", jwt(), strings.Repeat("Ab", 100),
		`{"secret":"` + jwt() + `","x":"` + strings.Repeat("aB3-_", 13) + `"}`, "-_" + strings.Repeat("Zz", 33) + ".",
		strings.Repeat("\xff", 70)}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := unpack(pack(text))
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("packed and unpacked, %d bytes are others: %v", len(text), err)
		}
		if cap(got) != len(got) {
			t.Fatalf("%d bytes are kept in %d", len(got), cap(got))
		}
		// Whatever is unpacked, it is an error or within bounds.
		if got, err := unpack(text); err == nil && len(got) > compressUpTo {
			t.Fatalf("%d bytes", len(got))
		}
		codec, body := compress(text)
		if got, err := decompress(codec, body); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("compressed and decompressed, %d bytes are others: %v", len(text), err)
		}
	})
}

func BenchmarkCompressed(b *testing.B) {
	key, err := GenerateKey("k")
	if err != nil {
		b.Fatal(err)
	}
	s, err := NewEncrypted(key)
	if err != nil {
		b.Fatal(err)
	}
	text := []byte(`{"home_account_id":"","environment":"login.microsoftonline.com","credential_type":"AccessToken",` +
		`"secret":"` + jwt() + `"}`)
	sealed, err := s.Seal(text, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Seal(text, nil)
		}
		b.ReportMetric(float64(len(sealed))/float64(len(text)), "size")
	})
	b.Run("compress alone", func(b *testing.B) {
		for b.Loop() {
			compress(text)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Open(sealed, nil)
		}
	})
}
