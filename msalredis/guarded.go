package msalredis

import (
	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// guarded turns a serializer's panic into an error. A serializer is called under locks and in goroutines of the
// library, and all its callers handle an error.
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
