// Package subprocess runs this program again as a child that takes orders: the workers of the tests, the benchmarks,
// the soak and the fault run.
//
//	child, err := subprocess.Start[Order, Outcome](subprocess.Spec{Role: "worker", Setup: setup}) // the parent
//	err = child.Ready(ctx)
//	outcome, err := child.Do(ctx, order)
//	err = child.End(ctx)
//
//	if subprocess.Role() == "worker" { // the child's main
//		os.Exit(subprocess.Serve(func(p *subprocess.Parent[Order, Outcome], s Setup) (work func(), err error) { ... }))
//	}
//
// # Protocol
//
// Lines of JSON. On the child's standard input: one setup, then orders. On its standard output: {"Ready":true}, or
// {"Error":"why not"}, then outcomes. Its standard error is its log. Setup, orders and outcomes are the user's own
// types. Secrets come in the setup, because other processes can read arguments and environments. What the rest of the
// child prints to os.Stdout goes to its log. A program in another language may be a child too, if it speaks this.
//
// # Invariants
//
//   - No child outlives its parent. The end of its standard input ends its context, and a grace later the process; on
//     Linux the kernel kills it with its parent, also if it is frozen. Ctrl-C, which a terminal sends to both, a child
//     ignores: it ends when the parent ends it, or ends.
//   - No child hangs its parent. Whatever waits for one takes a context; when the context ends, the child is killed,
//     since its next outcome would be taken for that of another order.
//   - An error names the child, and has the end of its log.
//   - A child that ended by itself with a status other than 0 is an error of End.
//
// # What guards what
//
// Child.sending keeps the lines of concurrent orders apart; one goroutine at a time receives. inbox.mu guards what has
// arrived and was not received yet, which is kept in memory without a bound: a child is never blocked by a parent that
// does not receive. logTail.mu guards the end of the log. Parent.telling keeps the lines of concurrent outcomes apart.
// No mutex is taken under another.
package subprocess
