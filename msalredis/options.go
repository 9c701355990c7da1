package msalredis

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// Options are the settings of a [Cache]. Zero fields take the default that ends their comment.
type Options struct {
	// Prefix starts every key in Redis. Caches with the same Redis, Prefix and sealing keys share tokens.
	// Braces and white space are not allowed. Default "msal".
	Prefix string

	// RefreshAt says when a token becomes due for a refresh where Entra ID does not say so itself (refresh_in):
	// a share, above 0 and below 1, of the token's usable life, which is its life less the last five minutes, in
	// which MSAL refuses it. Default 0.5.
	RefreshAt float64

	// LocalTTL bounds how long this process relies on what it knows without asking Redis, and so how late it may
	// learn of a sign-out whose message was lost, or of an app's token that replaces another after a challenge.
	// The time during which a machine is suspended does not count.
	// Default 10 s.
	LocalTTL time.Duration

	// LockTTL is the life of the lease under which one instance of the fleet asks Entra ID; a living holder
	// renews it. It bounds how long the others wait for a holder that was killed, and how long a holder may stand still
	// before another asks as well. Default 2 s.
	LockTTL time.Duration

	// OpTimeout bounds each wait for an answer of Redis. go-redis asks again when it has passed; an operation takes four
	// of it at most, and is then taken for Redis being away. With a client that does not keep to it (a cluster's without
	// ContextTimeoutEnabled, or one that calls the application to connect) one of it is the most. Before it is sent an
	// operation waits for its turn (see [New]). Default 250 ms.
	OpTimeout time.Duration

	// UserTTL is how long a user's tokens are kept after their last use. Entra ID's refresh tokens live 90 days
	// from their last use, so more keeps dead tokens and less signs users out. Default 90 days.
	UserTTL time.Duration

	// FailClosed makes Redis errors fail the acquisition of a token. By default they are logged, and the token
	// comes from memory or from Entra ID. Default false.
	FailClosed bool

	// LocalBytes bounds four memories of this process, each by itself: tokens that it knows, answers of the gate,
	// on-behalf-of tokens in MSAL's memory, and writes that wait for Redis to come back. Default 64 MiB.
	LocalBytes int64

	// Logger receives what an operator should know. It never receives a token, a secret, or the id of a user or
	// tenant. Its handler may be called while locks are held: one that sends the log away by a token of this Cache must
	// do so later, in a goroutine of its own. Default slog.Default().
	Logger *slog.Logger

	// Telemetry is where metrics and spans go. To give them to OpenTelemetry, set msalredisotel.Telemetry{}, of the
	// module github.com/msal-redis/msal-redis-go/msalredisotel. Default: nowhere.
	Telemetry Telemetry
}

// Telemetry is where metrics and spans go: msalredisotel.Telemetry{} gives them to OpenTelemetry, nil gives them to
// nobody. It is not for others to implement: its methods may change with each version.
type Telemetry = telemetry.Backend

// filled returns a checked copy with defaults in place of zero fields.
func (o *Options) filled() (Options, error) {
	var f Options
	if o != nil {
		f = *o
	}
	if f.Prefix == "" {
		f.Prefix = "msal"
	}
	if err := layout.CheckPrefix(f.Prefix); err != nil {
		return f, err
	}
	if f.RefreshAt == 0 {
		f.RefreshAt = 0.5
	}
	if math.IsNaN(f.RefreshAt) || f.RefreshAt <= 0 || f.RefreshAt >= 1 {
		return f, fmt.Errorf("msalredis: Options.RefreshAt is %v: it must lie between 0 and 1", f.RefreshAt)
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
		min   time.Duration
	}{
		{"LocalTTL", &f.LocalTTL, 10 * time.Second, time.Millisecond},
		{"LockTTL", &f.LockTTL, 2 * time.Second, 100 * time.Millisecond},
		{"OpTimeout", &f.OpTimeout, 250 * time.Millisecond, time.Millisecond},
		{"UserTTL", &f.UserTTL, 90 * 24 * time.Hour, time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if *d.value < d.min {
			return f, fmt.Errorf("msalredis: Options.%s is %v: it must be at least %v", d.name, *d.value, d.min)
		}
	}
	if f.LocalBytes == 0 {
		f.LocalBytes = 64 << 20
	}
	if f.LocalBytes < 0 {
		return f, fmt.Errorf("msalredis: Options.LocalBytes is %d: it must not be negative", f.LocalBytes)
	}
	if f.Logger == nil {
		f.Logger = slog.Default()
	}
	if f.Telemetry != nil && isNil(f.Telemetry) {
		return f, errors.New("msalredis: Options.Telemetry is a nil pointer; leave it out, or set msalredisotel.Telemetry{}")
	}
	return f, nil
}

// isNil tells also of a nil pointer in an interface.
func isNil(x any) bool {
	if x == nil {
		return true
	}
	v := reflect.ValueOf(x)
	return v.Kind() == reflect.Pointer && v.IsNil()
}
