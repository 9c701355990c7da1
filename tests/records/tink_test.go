package records_test

import (
	"errors"
	"testing"

	tinkaead "github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// Tink's AEADs are AEADs.
var _ serializer.AEAD = tink.AEAD(nil)

// FromAEAD with a Tink keyset, its rotation included.
func TestFromAEADWithTink(t *testing.T) {
	handle, err := keyset.NewHandle(tinkaead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	serializerOf := func(h *keyset.Handle) serializer.Serializer {
		a, err := tinkaead.New(h)
		if err != nil {
			t.Fatal(err)
		}
		return serializer.FromAEAD(a)
	}
	seal := func(s serializer.Serializer, ad []byte) []byte {
		t.Helper()
		v, err := s.Seal([]byte("token"), ad)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	refused := func(s serializer.Serializer, value, ad []byte, want error) {
		t.Helper()
		if got, err := s.Open(value, ad); !errors.Is(err, want) || got != nil {
			t.Fatalf("%q: %v, want %v", got, err, want)
		}
	}
	before := serializerOf(handle)
	ad := []byte("place")
	v := seal(before, ad)
	got, err := before.Open(v, ad)
	if err != nil || string(got) != "token" {
		t.Fatalf("%q: %v", got, err)
	}
	refused(before, v, []byte("elsewhere"), serializer.ErrAssociatedData)

	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(tinkaead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	rotated, err := manager.Handle()
	if err != nil {
		t.Fatal(err)
	}
	after := serializerOf(rotated)
	if got, err := after.Open(v, ad); err != nil || string(got) != "token" {
		t.Fatalf("after the rotation: %q: %v", got, err)
	}
	refused(before, seal(after, ad), ad, serializer.ErrAEAD)
}
