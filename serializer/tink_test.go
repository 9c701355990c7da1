package serializer

import (
	"testing"

	tinkaead "github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// FromAEAD with a Tink keyset, its rotation included.
func TestFromAEADWithTink(t *testing.T) {
	handle, err := keyset.NewHandle(tinkaead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	serializerOf := func(h *keyset.Handle) Serializer {
		a, err := tinkaead.New(h)
		if err != nil {
			t.Fatal(err)
		}
		return FromAEAD(a)
	}
	before := serializerOf(handle)
	ad := []byte("place")
	v := mustSeal(t, before, []byte("token"), ad)
	got, err := before.Open(v, ad)
	if err != nil || string(got) != "token" {
		t.Fatalf("%q: %v", got, err)
	}
	refused(t, before, v, []byte("elsewhere"), ErrAssociatedData)

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
	refused(t, before, mustSeal(t, after, []byte("token"), ad), ad, ErrAEAD)
}
