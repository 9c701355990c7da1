package bench

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// sealings are ways to seal, the least first.
var sealings = []contender{
	configured("neither", func(place) (serializer.Serializer, error) { return serializer.Plaintext(), nil }, nil),
	configured("AES-256-GCM alone", func(place) (serializer.Serializer, error) {
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			return nil, err
		}
		gcm, err := cipher.NewGCMWithRandomNonce(block)
		return encryptedOnly{gcm}, err
	}, nil),
	library, // both
}

type encryptedOnly struct{ cipher.AEAD }

func (e encryptedOnly) Seal(plaintext, data []byte) ([]byte, error) {
	return e.AEAD.Seal(nil, nil, plaintext, data), nil
}

func (e encryptedOnly) Open(sealed, data []byte) ([]byte, error) {
	return e.AEAD.Open(nil, nil, sealed, data)
}

// BenchmarkSealing is the first Replace of a new client for a user, and what Redis keeps of the user, without
// encryption and compression, with the first, and with both.
func BenchmarkSealing(b *testing.B) {
	type turn struct {
		contender
		w    *world
		took []float64
	}
	var turns []*turn
	for _, c := range sealings {
		w := newWorld(b)
		w.signIn(b, w.app(b, w.with(b, c, w.entra.Transport()), tenantName(0)))
		turns = append(turns, &turn{contender: c, w: w})
	}
	for b.Loop() {
		for _, t := range turns {
			p := t.w.start(b, t.contender, t.w.entra.Transport())
			if err := p.rdb.Ping(context.Background()).Err(); err != nil {
				b.Fatal(err)
			}
			accessor := &timed{ExportReplace: p.accessor}
			p.accessor = accessor
			if account, err := t.w.app(b, p, tenantName(0)).Account(context.Background(), user.HomeAccountID()); err != nil ||
				account.IsZero() {
				b.Fatalf("the user is not there: %v", err)
			}
			p.close()
			t.took = append(t.took, float64(accessor.replace))
		}
	}
	for _, t := range turns {
		name := t.name
		if name == library.name {
			name = "both (this library)"
		}
		var record float64
		for key, bytes := range t.w.memory(b) {
			if !isAnswer(key) {
				record += bytes
			}
		}
		ns := median(t.took)
		b.ReportMetric(ns, strings.ReplaceAll(name, " ", "-")+"-ns/op")
		results.add("encryption and compression: a user's cold read", name, b.N, ns, "bytes in Redis", record)
	}
}
