package serializer_test

import (
	"fmt"
	"log"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// Keys come from the environment or a vault, the one that seals first. To rotate, add the new key last on every
// instance, then move it first, then drop the old one when nothing is sealed with it any more.
func ExampleParseKeys() {
	keys, err := serializer.ParseKeys("2026b:9kzdxmBYG8hVOYZ2zW7GQOWvMMr6kUWsVtXyOgFZ3kA=," +
		"2026a:PnX2QXhRhmaDc0m4GPV0ndCKQbXT0pUv5eWHB5qmXdE=")
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sealer)
	// Output: serializer: AES-256-GCM, key 2026b
}

// A value opens in its place only.
func ExampleNewEncrypted() {
	key, err := serializer.GenerateKey("2026a")
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := sealer.Seal([]byte("a secret"), []byte("its place"))
	if err != nil {
		log.Fatal(err)
	}
	opened, err := sealer.Open(sealed, []byte("its place"))
	fmt.Println(string(opened), err)
	_, err = sealer.Open(sealed, []byte("another place"))
	fmt.Println(err)
	// Output:
	// a secret <nil>
	// serializer: the associated data does not match
}
