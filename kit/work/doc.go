// Package work runs things at the same time, with bounds: a Pool of workers with a queue that has an end, Run for a
// request that asks several others, and Go for what goes on after the request that began it.
//
//	resp, err := work.Run(ctx, work.FanOut{Mode: work.Quorum}, askA, askB, askC)
//	...
//	work.Go(ctx, "send receipt", func(ctx context.Context) error { return mail.Send(ctx, receipt) })
//
// # What it promises
//
// A Pool never has more than its workers running and its queue waiting; what comes on top waits, is refused, or is done by whoever
// brought it, as Full says. How long tasks waited is counted in a histogram. A task whose context ended while it waited is not run. Shutdown
// finishes what was accepted.
//
// Run divides the time that is left: tasks that cannot run all at once get a part each, and Reserve is kept for what the caller does with
// the results. Those that are not needed any more are cancelled.
//
// Go carries trace and baggage, and every other value of the context, into a goroutine that has a deadline of its own, since the
// request's ends with the request. Its span is a child of the request's and linked with it.
//
// # When things fail
//
// A panic of a task is an error, a *PanicError with the stack, and ends nothing else. (runtime.Goexit, as of t.FailNow, is not caught: a
// task must not call it.) A Group or Pool that is full says ErrFull, one
// that was shut down ErrClosed. A task that does not heed its context cannot be ended by anybody; Shutdown says so by its error.
//
// # Concurrency
//
// All methods may be called from any goroutine at any time.
package work
