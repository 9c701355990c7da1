package msalredis

import (
	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// guarded makes a panic of a serializer an error: it is called under locks and in goroutines of ours, and all callers
// know what to do about an error.
type guarded struct{ serializer.Serializer }

func (g guarded) Seal(plaintext, associatedData []byte) (sealed []byte, err error) {
	defer caught(&err)
	return g.Serializer.Seal(plaintext, associatedData)
}

func (g guarded) Open(sealed, associatedData []byte) (plaintext []byte, err error) {
	defer caught(&err)
	return g.Serializer.Open(sealed, associatedData)
}

func caught(err *error) {
	if v := recover(); v != nil {
		*err = failure.Panicked("the serializer", v)
	}
}
