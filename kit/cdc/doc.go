// Package cdc tells a program what was committed in its database: each change as an Event, in the order of commits, at
// least once. It holds what the two drivers have in common; kit/cdc/binlog reads the row binlog of MySQL and MariaDB, and
// kit/cdc/outbox a table that transactions of the program itself write to, on SQLite too. kit/cdc/kafka is a Handler that
// publishes events to Kafka.
//
// # What it promises
//
// Every change that was committed after the source was first started is handed to the Handler at least once, in order for
// each key, or an event of kind Epoch comes instead and says that changes may be missing. After that event a reader of the
// database sees whatever the source has not told, so a consumer that keeps copies (a cache, an index) drops or doubts all
// that it took over under a smaller epoch. A source never goes on silently where something may be missing: see the
// constants of type Reason.
//
// A position is saved after the Handler has returned nil for all before it. A process that dies between the two is told
// again what it has handled, from the beginning of a transaction on. Event.Transaction and Event.Index are the same each
// time. (An Epoch that is told again has a higher number.)
//
//	source, err := binlog.New(binlog.Config{Addr: "127.0.0.1:3306", User: "cdc", Tables: []string{"shop.*"},
//		Checkpoints: cdc.File("/var/lib/shop/cdc.json")})
//	err = source.Run(ctx, func(ctx context.Context, events []cdc.Event) error {
//		for _, e := range events {
//			if e.Kind == cdc.Epoch {
//				cache.Doubt(e.Epoch)
//				continue
//			}
//			cache.Delete(ctx, e.Table, e.Key)
//		}
//		return nil
//	})
//
// # When things fail
//
// A Handler that returns an error gets the same events again after a pause, for ever: whatever it cannot digest it has to
// put aside itself. A server that is gone is tried again for ever, with pauses of full jitter. Run returns when its context
// ends, or at the beginning if the server is not set up so that it can be followed.
//
// # Concurrency
//
// Run calls its Handler from one goroutine, never two at a time. A source runs once at a time. Stats may be called from
// anywhere. Two processes must not share a Store.
package cdc
