// Package redislogin marks the request for a token that opens a Redis, so that a cache can refuse it instead of looking
// in that Redis for it: the connection waits for the token, and the token would wait for the connection.
package redislogin

import "context"

type key struct{}

// Mark returns a context for such a request.
func Mark(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Marked tells whether ctx is one that [Mark] made, or its child.
func Marked(ctx context.Context) bool { return ctx.Value(key{}) != nil }
