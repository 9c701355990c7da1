// Package gate explores a small model of the refresh gate and the sign-out, every order of their steps, and looks for
// one that breaks a promise. It is for who wants to know why each step is there: leave one out, and the test shows what
// happens.
//
// A few instances share one Redis and refresh one user's token; a sign-out and a sign-in may come at any moment; a
// lease may run out at any moment, and an instance may die at any step. [Explore] visits each state that can be
// reached, breadth first, so that the trace it gives for a broken promise is a shortest one.
//
// # The model and the code
//
// Of an instance:
//
//	look        source.look, before the lease (internal/gate/leader.go; recordSource.look, load.lua)
//	lease       leader.take, lock.Locker.TryAcquire
//	look again  leader.bring, inside the lease
//	post        leader.ask, leader.post
//	store       recordSource.keep, tokenstore.Store.Write, store.lua
//	release     lock.Lease.Release, lock/release.lua
//
// Of others:
//
//	sign out    Cache.RemoveAccount, signout.lua: the sessions go that have begun. Redis may refuse it: it is tried
//	            again, and then ends those that began before it was asked for (package removal has the model of that)
//	sign in     transport.signIn, with which a session begins; Cache.Export, store.lua
//	lease ends  the TTL of the lease, an eviction, a failover that loses it
//	crash       a process that is killed
//	way breaks  one instance cannot reach Entra ID: no answer, or a page that is a proxy's
//
// Of what is stored: a token is the sign-in that it comes of and how often it was refreshed since; its stamp is Redis's
// time of the look inside the lease (leader.ask), or one more than the stamp of the token that was used, if that is
// newer (recordSource.keep). The later session stays, and of one session the newer stamp.
//
// # What is promised
//
//   - As long as no lease ends early and nobody dies, the token of a sign-in is asked for once.
//   - An older token never replaces a newer one.
//   - After a sign-out nothing comes back that was asked for before it.
//   - A sign-in after a sign-out is kept.
//   - An instance that cannot reach Entra ID harms nobody else.
//
// What the model leaves out: the network between an instance and Redis, clocks, more than one token per user, Redis
// losing its data. Of the lease the histories of real runs look at those (TestHistoriesOfLeases).
package gate
