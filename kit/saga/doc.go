// Package saga carries out what spans several databases and services, step by step, so that in the end all of it has
// happened or none: each step has an action and a compensation, and how far a saga is stands in a log, in SQLite or MySQL,
// that any number of processes work on. It is a library: there is no coordinator to run besides the services.
//
// # What it promises
//
// A saga whose Start was committed ends, as long as the log's database comes back, some engine with its plan runs, and its
// compensations succeed at last. It ends as Done, with each action's effect there once, or as Undone, with the effects of
// the actions that happened each compensated once and the others never to happen. This holds over kill -9 of any process
// at any time, over processes that freeze and go on when others have done their work, and over requests that are lost,
// repeated and late, for all effects that pass the barrier:
//
//   - A Local step gets its transaction from the barrier and cannot go around it.
//   - A Remote step carries Call.Key to the service that has the effect: by itself, where its client has RoundTripper or
//     UnaryClient. The service runs the effect in Party.Do, which refuses what has no key. This much is up to the program:
//     a service that ignores the key has the effect once for each attempt.
//
// It does not isolate: others see the effects of a saga before it has ended, and a compensation that comes later.
//
// # What errors mean
//
// Nil means that the action happened. Failed(err) means that it definitely did not, and the saga is compensated from the
// step before. Everything else, an error, a timeout, a panic, a process that died, means that nobody knows: the action is
// tried again, up to the step's Attempts and the plan's Deadline, and then its own step is compensated too. A compensation
// is tried for ever, with a pause that grows to BackoffMax; after DeadAfter attempts Log.Dead lists it, and Log.Resolve
// does what a person decides.
//
//	flight := saga.Local[Trip]{Name: "flight", Party: flights, Do: book, Undo: cancel}
//	hotel := saga.Remote[Trip]{Name: "hotel", Do: reserve, Undo: release, Timeout: 2 * time.Second}
//	trip, err := saga.Define(saga.Plan[Trip]{Name: "trip", Version: 1, Deadline: time.Minute, Steps: []saga.Step[Trip]{flight, hotel}})
//	engine, err := saga.New(saga.Config{Log: log, Definitions: []saga.AnyDefinition{trip}})
//	go engine.Run(ctx)
//	err = trip.Start(ctx, log, tx, "trip-17", Trip{...}) // in the transaction that writes the order
//
// # Who runs a saga
//
// An engine claims a saga for the time of a lease, the longest timeout of its steps and two seconds, counted by the clock
// of the log's database; each transition renews it. A claim raises the saga's fence, and no transition is written under an
// older one. When an engine dies, others go on after the lease. One that was only slow finds itself fenced off from the
// log, and what it still sends meets the barrier.
//
// # Concurrency
//
// All types may be used by many goroutines, except a Call, which belongs to the function it is given to. Functions of
// steps run on goroutines of the engine, up to Workers at the same time, never two at a time for one saga on one engine
// that keeps its leases; they must return soon after their context has ended, since they hold a worker until then.
package saga
