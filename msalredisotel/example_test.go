package msalredisotel_test

import (
	"log"
	"os"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Metrics and spans go to the providers that the service has set with otel.SetMeterProvider and otel.SetTracerProvider.
func Example() {
	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil)
	if err != nil {
		log.Fatal(err)
	}
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := msalredis.New(rdb, sealer, &msalredis.Options{Telemetry: msalredisotel.Telemetry{}})
	if err != nil {
		log.Fatal(err)
	}
	defer tokens.Close()
}
