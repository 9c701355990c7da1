// Package gate is the refresh gate: the http.RoundTripper before Entra ID's token endpoint that lets one instance of
// the fleet ask for a token and gives its answer to all.
//
// It owns requests on their way; package answers owns the answers that the fleet shares by a request's identity. A
// request comes in at transport.RoundTrip and is sorted by its kind (package tokenreq):
//
//	untouched   passes
//	sign-in     passes, and what it brings is noted (signin.go)
//	discovery   is answered from memory for a day (package discovery)
//	an app's    is answered from what this process has, where Redis has confirmed it within LocalTTL (package answers)
//	the rest    joins the flight of its identity (flight.go)
//
// A flight has a leader, who brings the answer (leader.go):
//
//	look    what does the fleet have?        answersource.go: by identity; recordsource.go: a user's record, too
//	queue   one after another here           queues.go: an in-process queue for each lease
//	lease   may I ask?                       lease.go; who does not get it waits for the answer, not for the lease
//	look    has it come meanwhile?           between the first look and the lease another may have had it. Redis's time
//	                                         of this look is the stamp of what is asked for next
//	ask     ask Entra ID                     ask.go, once more where that failed for a passing reason; foreign.go
//	keep    for the fleet                    package answers, or into the record
//	land    give it to those who wait
//	free    the lease                        who gets it next looks again, and finds what was kept
//
// An app's answer lands before it is kept, because MSAL's Export gives the token to the fleet as well. So who wants a
// token that nobody has waits for five trips to Redis, the two of MSAL's accessor included.
//
// # Invariants
//
//   - Callers of one identity share a flight, and one request under a lease in the fleet; while Redis is away, one
//     request in each process. Other flights of an identity ask one after another, in the queue of their lease. They
//     are: a refresh ahead; the other grant, where a token is asked for by two; that of a caller with another
//     credential than the one that was refused; that of a caller with another base transport than the one that failed;
//     and that of who comes after a removal, or after a flight has landed.
//   - Nobody waits for long for another's trouble. Who has waited for holderAtMost asks without the lease, and so does
//     who comes after him in the queue. Who has waited for otherRefusedAtMost, where a credential was refused, asks
//     without the lease and past the queue. Where Redis gives no lease, callers ask without.
//   - What was asked for is kept before its lease is free, also when all callers have left. Who gets the lease next
//     looks again, and finds it.
//   - Nobody gets an answer that is past its end, or that is to another request. An error that speaks of one instance,
//     one base transport or one credential is given to nobody else.
//   - Who comes after a removal gets nothing of before it. Who came before may get what was found or asked for before
//     it, as from MSAL alone; but not a token in its last five minutes, which he would be given later.
//   - Who was challenged gets nothing that anybody was given before he came.
//   - What is asked for is known to package issued before MSAL has it.
//
// # Concurrency
//
// Everything is safe for concurrent use. A leader belongs to the goroutine of its flight. What callers read of a flight
// is written before the channel is closed for which they wait: result by the leader before landed, old by the timer of
// their patience before impatient. flights.mu guards which flights are open and which are leaving; queues.mu guards
// who waits in this process for which lease. None is held while another of them is taken, while Redis or Entra ID is
// asked, or while a callback runs; a flight's goroutine is started under flights.mu, which takes the mutex of its
// workers.Group. A leader comes to the head of its queue before it has the lease, and leaves it after that.
package gate
