package serializer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixedKey is a key whose bytes are known; it seals nothing outside of tests.
func fixedKey(t testing.TB, id string, first byte) Key {
	t.Helper()
	keys, err := ParseKeys(id + ":" + base64.StdEncoding.EncodeToString(fixedBytes(first)))
	if err != nil {
		t.Fatal(err)
	}
	return keys[0]
}

func fixedBytes(first byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func encryptedWith(t testing.TB, keys ...Key) Serializer {
	t.Helper()
	s, err := NewEncrypted(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gcmAEAD is the least that satisfies AEAD. Tink's own is tried in tests/records/tink_test.go.
type gcmAEAD struct{ gcm cipher.AEAD }

func newGCMAEAD(t testing.TB) gcmAEAD {
	t.Helper()
	block, err := aes.NewCipher(fixedBytes(200))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcmAEAD{gcm}
}

func (a gcmAEAD) Encrypt(p, ad []byte) ([]byte, error) { return a.gcm.Seal(nil, nil, p, ad), nil }
func (a gcmAEAD) Decrypt(c, ad []byte) ([]byte, error) { return a.gcm.Open(nil, nil, c, ad) }

// serializers are the three kinds; each knows what it can open.
func serializers(t testing.TB) map[string]Serializer {
	return map[string]Serializer{
		"encrypted": encryptedWith(t, fixedKey(t, "2026b", 1), fixedKey(t, "2026a", 100)),
		"aead":      FromAEAD(newGCMAEAD(t)),
		"plaintext": Plaintext(),
	}
}

func mustSeal(t testing.TB, s Serializer, text, ad []byte) []byte {
	t.Helper()
	v, err := s.Seal(text, ad)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// refused requires that s does not open the value and names the reason.
func refused(t testing.TB, s Serializer, value, ad []byte, want error) {
	t.Helper()
	got, err := s.Open(value, ad)
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if got != nil {
		t.Fatal("data came along with the error")
	}
	for _, other := range []error{ErrFormat, ErrCorrupt, ErrVersion, ErrKind, ErrUnknownKey, ErrAssociatedData, ErrAEAD} {
		if !errors.Is(want, other) && errors.Is(err, other) {
			t.Fatalf("%v is %v as well", err, other)
		}
	}
}

// rechecked repairs the checksum, as an attacker would.
func rechecked(v []byte) []byte {
	binary.BigEndian.PutUint32(v[3:], crc32.Checksum(v[7:], crc32.MakeTable(crc32.Castagnoli)))
	return v
}

func TestSealedOpens(t *testing.T) {
	for name, s := range serializers(t) {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{0, 1, 15, 16, 17, 1000, 1 << 20} {
				for _, ad := range [][]byte{nil, {}, []byte("msal:v1:{p}:tokens\x00field"), make([]byte, 10_000)} {
					text := make([]byte, size)
					rand.Read(text)
					got, err := s.Open(mustSeal(t, s, text, ad), ad)
					if err != nil || !bytes.Equal(got, text) {
						t.Fatalf("%d bytes: %v", size, err)
					}
				}
			}
		})
	}
}

func TestEveryReasonHasItsOwnError(t *testing.T) {
	ad := []byte("place")
	for name, s := range serializers(t) {
		t.Run(name, func(t *testing.T) {
			good := mustSeal(t, s, []byte("token"), ad)
			with := func(at int, b byte) []byte {
				v := bytes.Clone(good)
				v[at] = b
				return rechecked(v)
			}
			refused(t, s, with(7, 2), ad, ErrVersion)
			refused(t, s, with(8, 'Z'), ad, ErrVersion)
			refused(t, s, with(9, 2), ad, ErrVersion)
			if _, err := s.Open(with(9, 1), ad); err == nil {
				t.Fatal("a value opened by another codec than its own")
			}
			refused(t, s, good, []byte("elsewhere"), ErrAssociatedData)
			refused(t, s, good, nil, ErrAssociatedData)
			refused(t, s, []byte(`{"AccessToken":{}}`), ad, ErrFormat)
			refused(t, s, nil, ad, ErrFormat)
			// A value of a later version may be shorter than our header.
			refused(t, s, rechecked(bytes.Clone(append(bytes.Clone(good[:7]), 9))), ad, ErrVersion)
			for other, o := range serializers(t) {
				if other != name {
					refused(t, o, good, ad, ErrKind)
				}
			}
			if _, err := s.Open(good, ad); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Whichever bit it is, also one of the key's id or of the place.
func TestEveryChangedByteIsErrCorrupt(t *testing.T) {
	ad := []byte("place")
	for name, s := range serializers(t) {
		t.Run(name, func(t *testing.T) {
			good := mustSeal(t, s, []byte("some token"), ad)
			for i := range good {
				for bit := range 8 {
					v := bytes.Clone(good)
					v[i] ^= 1 << bit
					want := ErrCorrupt
					if i < 3 { // without the magic nothing says that it is ours
						want = ErrFormat
					}
					refused(t, s, v, ad, want)
				}
			}
			for n := 1; n < len(good); n++ {
				refused(t, s, good[:n:n], ad, ErrCorrupt)
			}
			refused(t, s, append(bytes.Clone(good), 0), ad, ErrCorrupt)
		})
	}
}

// The checksum is no protection and is not relied on: whoever repairs it after
// changing a byte is stopped by the tag.
func TestTheTagCoversEveryByte(t *testing.T) {
	ad := []byte("place")
	for name, s := range serializers(t) {
		if name == "plaintext" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			good := mustSeal(t, s, []byte("some token"), ad)
			for i := 7; i < len(good); i++ {
				v := bytes.Clone(good)
				v[i] ^= 1
				if got, err := s.Open(rechecked(v), ad); err == nil || got != nil {
					t.Fatalf("byte %d was changed and the value opened", i)
				}
			}
			for n := 8; n < len(good); n++ {
				if _, err := s.Open(rechecked(bytes.Clone(good[:n])), ad); err == nil {
					t.Fatalf("cut to %d bytes the value opened", n)
				}
			}
			// Moved to another place with the header made to fit.
			v := bytes.Clone(good)
			p := place([]byte("elsewhere"))
			copy(v[10:18], p[:])
			if _, err := s.Open(rechecked(v), []byte("elsewhere")); err == nil {
				t.Fatal("a moved value opened")
			}
			// The codec decides how the payload is read, so it must be authenticated.
			v = bytes.Clone(good)
			v[9] = 1
			if e, ok := s.(*encrypted); ok {
				body := rechecked(v)[18+1+5:]
				if _, err := e.keys["2026b"].Open(nil, nil, body, additionalData(v[:18+1+5], ad)); err == nil {
					t.Fatal("the codec is not authenticated")
				}
			}
		})
	}
}

// A key id that is longer than the value, or is none, is no reason to panic, nor to repeat it.
func TestAForgedKeyIDIsErrCorrupt(t *testing.T) {
	s := encryptedWith(t, fixedKey(t, "k", 1))
	good := mustSeal(t, s, []byte("x"), nil)
	for _, n := range []int{0, 33, len(good) - 19, len(good) - 18, 255} {
		v := slices.Clip(bytes.Clone(good))
		v[18] = byte(n)
		refused(t, s, rechecked(v), nil, ErrCorrupt)
	}
	v := bytes.Clone(good)
	v[19] = '\n'
	refused(t, s, rechecked(v), nil, ErrCorrupt)
	v = slices.Clip(bytes.Clone(good[:18]))
	refused(t, s, rechecked(v), nil, ErrCorrupt)
}

func TestAKeyOfTheSameIDThatIsAnother(t *testing.T) {
	v := mustSeal(t, encryptedWith(t, fixedKey(t, "k", 1)), []byte("x"), nil)
	other := encryptedWith(t, fixedKey(t, "k", 2))
	refused(t, other, v, nil, ErrCorrupt)
	if _, err := other.Open(v, nil); !strings.Contains(err.Error(), `not the key "k" that sealed it`) {
		t.Errorf("the operator is not told of the likeliest cause: %v", err)
	}
}

// Rotation by two roll-outs: at each step every instance opens what every other seals.
func TestRotation(t *testing.T) {
	a, b := fixedKey(t, "2026a", 1), fixedKey(t, "2026b", 2)
	steps := [][]Key{{a}, {a, b}, {b, a}, {b}}
	ad := []byte("place")
	for i := range len(steps) - 1 {
		before, after := encryptedWith(t, steps[i]...), encryptedWith(t, steps[i+1]...)
		for _, pair := range [][2]Serializer{{before, after}, {after, before}} {
			got, err := pair[1].Open(mustSeal(t, pair[0], []byte("token"), ad), ad)
			if i == 2 && pair[0] == before || err == nil && string(got) == "token" {
				continue // what {b, a} seals is sealed with b
			}
			t.Errorf("step %d: %v", i, err)
		}
	}
	refused(t, encryptedWith(t, b), mustSeal(t, encryptedWith(t, a, b), []byte("token"), ad), ad, ErrUnknownKey)
	// Skipped as unknown even where the place is wrong as well.
	refused(t, encryptedWith(t, b), mustSeal(t, encryptedWith(t, a), []byte("token"), ad), nil, ErrUnknownKey)
}

func TestNoncesDiffer(t *testing.T) {
	s := encryptedWith(t, fixedKey(t, "k", 1))
	seen := map[string]bool{}
	for range 10_000 {
		v := mustSeal(t, s, []byte("same"), nil)
		nonce := string(v[18+1+1 : 18+1+1+12])
		if seen[nonce] {
			t.Fatal("a nonce came twice")
		}
		seen[nonce] = true
	}
}

func TestNewEncryptedRefuses(t *testing.T) {
	k := fixedKey(t, "k", 1)
	for name, c := range map[string]struct {
		keys []Key
		want string
	}{
		"none":      {nil, "at least one"},
		"zero":      {[]Key{k, {}}, "key 2 is the zero Key"},
		"duplicate": {[]Key{k, fixedKey(t, "j", 2), fixedKey(t, "k", 3)}, `key 3 has the id "k"`},
	} {
		if _, err := NewEncrypted(c.keys...); !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestArgumentsAreNeitherKeptNorChanged(t *testing.T) {
	for name, s := range serializers(t) {
		t.Run(name, func(t *testing.T) {
			// Spare capacity is the caller's as well: append must not run into it.
			spare := func(text string) []byte { return append([]byte(text), "SPARE"...)[:len(text)] }
			text, ad := spare("token"), spare("place")
			v := mustSeal(t, s, text, ad)
			intact := func(b []byte, want string) {
				t.Helper()
				if string(b[:len(b)+5]) != want+"SPARE" {
					t.Fatalf("an argument was changed: %q", b[:len(b)+5])
				}
			}
			intact(text, "token")
			intact(ad, "place")
			sealed := spare(string(v))
			got, err := s.Open(sealed, ad)
			if err != nil {
				t.Fatal(err)
			}
			intact(sealed, string(v))
			intact(ad, "place")
			clear(sealed)
			clear(text)
			if string(got) != "token" {
				t.Fatal("the result shares memory with the argument")
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	for name, s := range serializers(t) {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					ad := []byte{byte(g)}
					for i := range 200 {
						text := fmt.Appendf(nil, "%d/%d", g, i)
						v, err := s.Seal(text, ad)
						if err != nil {
							t.Error(err)
							return
						}
						if got, err := s.Open(v, ad); err != nil || !bytes.Equal(got, text) {
							t.Errorf("%q: %v", got, err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

type brokenAEAD struct{ err error }

func (b brokenAEAD) Encrypt(_, _ []byte) ([]byte, error) { return nil, b.err }
func (b brokenAEAD) Decrypt(_, _ []byte) ([]byte, error) { return nil, b.err }

func TestAEADErrorsAreWrapped(t *testing.T) {
	cause := errors.New("the key vault is away")
	broken := FromAEAD(brokenAEAD{cause})
	if v, err := broken.Seal([]byte("x"), nil); v != nil || !errors.Is(err, ErrAEAD) || !errors.Is(err, cause) {
		t.Errorf("Seal: %v", err)
	}
	v := mustSeal(t, FromAEAD(newGCMAEAD(t)), []byte("x"), nil)
	refused(t, broken, v, nil, ErrAEAD)
	if _, err := broken.Open(v, nil); !errors.Is(err, cause) {
		t.Errorf("Open: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("FromAEAD(nil) gave a Serializer")
		}
	}()
	FromAEAD(nil)
}

const canary = "c4n4ry-0f-4-s3cr3t"

// What is printed, logged or encoded, and what errors say, holds no key, no
// content and no associated data.
func TestSecretsDoNotLeak(t *testing.T) {
	key := []byte(canary + canary)[:32]
	keys, err := ParseKeys("k:" + base64.StdEncoding.EncodeToString(key))
	if err != nil {
		t.Fatal(err)
	}
	s := encryptedWith(t, keys...)
	ours := mustSeal(t, s, []byte(canary), []byte(canary))
	var said bytes.Buffer
	type holder struct { // what an unexported field prints is beyond a method's reach
		key    Key
		keys   []Key
		sealer Serializer
	}
	type open struct {
		Key    Key
		Sealer Serializer
	}
	for _, v := range []any{
		keys[0], &keys[0], keys, s, serializers(t), FromAEAD(brokenAEAD{errors.New(canary)}), Plaintext(),
		holder{keys[0], keys, s}, &holder{keys[0], keys, s},
		open{keys[0], s},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%#x"} {
			fmt.Fprintf(&said, verb+"\n", v)
		}
		b, _ := json.Marshal(v)
		said.Write(b)
		for _, h := range []slog.Handler{slog.NewTextHandler(&said, nil), slog.NewJSONHandler(&said, nil)} {
			slog.New(h).Info("m", "value", v, slog.Group("g", "value", v))
		}
	}
	// Errors of everything that may be given a secret.
	note := func(_ any, err error) {
		if err == nil {
			t.Error("an error was expected")
		}
		fmt.Fprintf(&said, "%v\n%+v\n%#v\n", err, err, err)
	}
	secret := base64.StdEncoding.EncodeToString(key)
	for _, text := range []string{secret, ":" + secret, secret + ":k", "k:" + secret + "=x", "k:" + secret + secret,
		"k:" + secret + "," + secret, "k:" + secret + ",k:" + secret, "k:" + secret + "l:" + secret, "k " + secret,
		"k:\"" + secret + "\"", secret + "," + secret} {
		_, err := ParseKeys(text)
		note(nil, err)
	}
	_, err = GenerateKey(secret)
	note(nil, err)
	note(s.Open(ours, nil))
	note(s.Open(ours[:30], []byte(canary)))
	note(s.Open([]byte(canary), []byte(canary)))
	note(Plaintext().Open(ours, []byte(canary)))
	note(encryptedWith(t, fixedKey(t, "l", 1)).Open(ours, []byte(canary)))
	note(encryptedWith(t, fixedKey(t, "k", 1)).Open(ours, []byte(canary)))
	for name, form := range map[string]string{
		"text":    canary,
		"base64":  secret,
		"part":    secret[:12],
		"hex":     fmt.Sprintf("%x", canary),
		"HEX":     fmt.Sprintf("%X", canary),
		"bytes":   strings.Trim(fmt.Sprint([]byte(canary)), "[]"),
		"literal": strings.Trim(fmt.Sprintf("%#v", []byte(canary[:4])), "[]byte{}"),
	} {
		if at := strings.Index(said.String(), form); at >= 0 {
			from := max(0, at-200)
			t.Errorf("%s of the secret is in:\n%s", name, said.String()[from:at+len(form)])
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if k := fmt.Sprintf(verb, keys[0]); k != "Key(k)" {
			t.Errorf("%s: %s", verb, k)
		}
	}
	if b, err := json.Marshal([]any{keys[0]}); string(b) != `["Key(k)"]` {
		t.Errorf("%s %v", b, err)
	}
	if k := keys[0].LogValue().String(); k != "Key(k)" {
		t.Error(k)
	}
	if !strings.Contains(said.String(), "Key(k)") {
		t.Error("the test looks at nothing")
	}
}

var update = flag.Bool("update", false, "write golden files that do not exist yet; existing ones are never changed")

// referenceSeal makes sealed values by the layout as documented, and shares no
// code with the package, so that the two check each other.
func referenceSeal(t *testing.T, kind byte, id string, key, nonce, text, ad []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(append([]byte("msal-redis/serializer v1 associated data\x00"), ad...))
	header := append([]byte{1, kind, 0}, sum[:8]...)
	var body []byte
	switch kind {
	case 'E', 'A':
		if kind == 'E' {
			header = append(append(header, byte(len(id))), id...)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		body = gcm.Seal(bytes.Clone(nonce), nonce, text, append(bytes.Clone(header), ad...))
	case 'P':
		body = text
	}
	rest := append(header, body...)
	v := binary.BigEndian.AppendUint32([]byte{0x9a, 'M', 'R'}, crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)))
	return append(v, rest...)
}

// sampleText is what is sealed in testdata/v1: an entry as internal/layout writes it.
const sampleText = "\x01\x0bAccessToken\x06key é" + `{"home_account_id":"u.t",` +
	`"environment":"login.microsoftonline.com","realm":"t",` +
	`"credential_type":"AccessToken","client_id":"c","secret":"s3cret","target":"a b","refresh_on":"1700001800",` +
	`"expires_on":"1700003600","extended_expires_on":"1700003600","cached_at":"1700000000","token_type":"Bearer"}`

// The files of testdata/v1 are never changed: values like them are in somebody's Redis.
func TestGoldenV1(t *testing.T) {
	ad := []byte("msal:v1:{p}:tokens\x00field")
	nonce := []byte("123456789012")
	text := []byte(sampleText)
	golden := func(name string, now []byte) []byte {
		t.Helper()
		path := filepath.Join("testdata", "v1", name)
		kept, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *update {
			kept, err = now, os.WriteFile(path, now, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, now) {
			t.Errorf("%s is no longer written as it was", name)
		}
		return kept
	}
	s := serializers(t)
	opens := func(s Serializer, v []byte) {
		t.Helper()
		got, err := s.Open(v, ad)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != sampleText {
			t.Fatal("what is in it is another text")
		}
	}
	opens(s["plaintext"], golden("plaintext.bin", mustSeal(t, Plaintext(), text, ad)))
	golden("plaintext.bin", referenceSeal(t, 'P', "", nil, nil, text, ad))
	opens(s["encrypted"], golden("encrypted.bin", referenceSeal(t, 'E', "2026b", fixedBytes(1), nonce, text, ad)))
	opens(s["aead"], golden("aead.bin", referenceSeal(t, 'A', "", fixedBytes(200), nonce, text, ad)))

	// What a compressor writes may differ from one version of it to the next; what it wrote must open for ever.
	for name, file := range map[string]string{"encrypted": "encrypted-s2.bin", "aead": "aead-s2.bin"} {
		path := filepath.Join("testdata", "v1", file)
		kept, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *update {
			kept, err = mustSeal(t, s[name], text, ad), nil
			if err == nil {
				err = os.WriteFile(path, kept, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if kept[9] != 1 {
			t.Fatal("the sample is not compressed")
		}
		opens(s[name], kept)
	}

	// And what is sealed today has the documented layout: seal it again with its own nonce.
	text = []byte("too short to be compressed")
	v := mustSeal(t, s["encrypted"], text, ad)
	if !bytes.Equal(v, referenceSeal(t, 'E', "2026b", fixedBytes(1), v[24:36], text, ad)) {
		t.Error("encrypted values do not have the documented layout")
	}
	v = mustSeal(t, s["aead"], text, ad)
	if !bytes.Equal(v, referenceSeal(t, 'A', "", fixedBytes(200), v[18:30], text, ad)) {
		t.Error("AEAD values do not have the documented layout")
	}
}

func TestOverheadIsAsDocumented(t *testing.T) {
	noise := make([]byte, 100)
	rand.Read(noise)
	for _, text := range [][]byte{noise, make([]byte, 10)} {
		v := mustSeal(t, encryptedWith(t, fixedKey(t, "2026b", 1)), text, nil)
		if diff := cmp.Diff(len(text)+47+len("2026b"), len(v)); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzOpen(f *testing.F) {
	all := serializers(f)
	for _, s := range all {
		f.Add(mustSeal(f, s, []byte("token"), []byte("ad")), []byte("ad"))
	}
	f.Fuzz(func(t *testing.T, value, ad []byte) {
		for _, v := range [][]byte{value, nil} {
			if v == nil && len(value) >= 8 {
				v = rechecked(bytes.Clone(value)) // get past the checksum
			}
			for name, s := range all {
				got, err := s.Open(v, ad)
				if err == nil {
					// Only what it sealed itself opens; plain text can be made by anybody.
					again, err2 := s.Open(mustSeal(t, s, got, ad), ad)
					if err2 != nil || !bytes.Equal(again, got) {
						t.Fatalf("%s: %v", name, err2)
					}
					continue
				}
				named := 0
				for _, e := range []error{ErrFormat, ErrCorrupt, ErrVersion, ErrKind, ErrUnknownKey, ErrAssociatedData, ErrAEAD} {
					if errors.Is(err, e) {
						named++
					}
				}
				if named != 1 || got != nil {
					t.Fatalf("%s: %v has %d names", name, err, named)
				}
			}
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	all := serializers(f)
	f.Add([]byte("token"), []byte("ad"), []byte("other"))
	f.Fuzz(func(t *testing.T, text, ad, other []byte) {
		for name, s := range all {
			v := mustSeal(t, s, text, ad)
			if got, err := s.Open(v, ad); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(ad, other) {
				refused(t, s, v, other, ErrAssociatedData)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	ad := []byte("msal:v1:{0123456789abcdef0123456789abcdef}:tokens\x000123456789abcdef")
	for name, s := range serializers(b) {
		for _, size := range []int{2 << 10, 16 << 10} {
			text := make([]byte, size)
			v := mustSeal(b, s, text, ad)
			b.Run(fmt.Sprintf("%s/%dKiB/Seal", name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					_, _ = s.Seal(text, ad)
				}
			})
			b.Run(fmt.Sprintf("%s/%dKiB/Open", name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					_, _ = s.Open(v, ad)
				}
			})
		}
	}
}

// A value's header names the key that sealed it, to whoever has no key.
func TestKeyID(t *testing.T) {
	for _, id := range []string{"a", "2026b", "12345678901234567890123456789012"} {
		key, err := GenerateKey(id)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewEncrypted(key)
		if err != nil {
			t.Fatal(err)
		}
		value, err := s.Seal([]byte("content"), []byte("place"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := KeyID(value); got != id || err != nil {
			t.Errorf("KeyID = %q, %v, want %q", got, err, id)
		}
		for cut := range value {
			if got, err := KeyID(value[:cut]); err == nil || got != "" {
				t.Fatalf("cut off after %d bytes: %q", cut, got)
			}
		}
	}
	plain, _ := Plaintext().Seal([]byte("content"), nil)
	if _, err := KeyID(plain); !errors.Is(err, ErrKind) {
		t.Errorf("plain text: %v", err)
	}
	if _, err := KeyID([]byte(`{"secret":"x"}`)); !errors.Is(err, ErrFormat) {
		t.Errorf("foreign: %v", err)
	}
}
