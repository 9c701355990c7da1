// Package model explores models of the library exhaustively: every order of a model's steps, breadth first, so
// that the trace which it gives for a broken invariant is a shortest one.
//
//   - [gate]: the lease, the second look and the order of stamps: one token costs one token request.
//   - [removal]: sign-out as one ordered fact: what may remain, come back, or be lost, under every disturbance
//     that is modelled.
//
// They are two because their questions are: the gate's needs three instances and each step of a lease, the
// removal's needs clocks, messages and memories; together they would have more states than can be visited. A model
// shows the rules, not the code.
//
// [gate]: https://pkg.go.dev/github.com/msal-redis/msal-redis-go/internal/model/gate
// [removal]: https://pkg.go.dev/github.com/msal-redis/msal-redis-go/internal/model/removal
package model
