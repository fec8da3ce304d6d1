// Package outbox carries messages out of transactions: a program appends a message in the transaction that changes its
// rows, so that both are there or neither, and a Tailer hands it over afterwards, at least once and in order for each key.
// It works on SQLite, MySQL and MariaDB, wants nothing of the server (no binlog, no rights), and is the driver to begin with.
//
//	box, err := outbox.New(outbox.Config{DB: db, Dialect: outbox.SQLite})
//	err = box.CreateTables(ctx)
//
//	tx, err := db.BeginTx(ctx, nil)
//	// ... UPDATE orders ...
//	err = box.Append(ctx, tx, outbox.Message{Topic: "orders", Key: "17", Payload: body})
//	err = tx.Commit()
//
//	tailer, err := outbox.NewTailer(outbox.TailerConfig{Outbox: box})
//	err = tailer.Run(ctx, func(ctx context.Context, events []cdc.Event) error { return publish(ctx, events) })
//
// # Why no message is lost
//
// Transactions commit in another order than they got their numbers: number 5 may appear after 6 was handed over. A tailer
// that keeps the last number would never see it. This one keeps none: a message is a row that is there until it was handed
// over, and then deleted, and the tailer reads the smallest numbers there are.
//
// # Order
//
// Messages of one key are handed over by their numbers. Two transactions that write to the same row before they append get
// their numbers in the order of their commits, since the second waits for the lock of the first; so append after the write.
// Transactions that do not exclude each other have no order to keep.
//
// Keys are spread over 16 lanes, and each lane is leased to one tailer. Any number of processes may run tailers; they share
// the lanes evenly, and when one dies the others take its lanes after the lease. What it had handed over and not deleted is
// handed over again, so a consumer may see for one key 1, 2, 1, 2, 3; Event.Transaction is the number, by which it can tell.
//
// # When the database is gone
//
// It is tried again for ever, with pauses of full jitter. A handler is told by its context when the lease ran out under it.
//
// # Concurrency
//
// Outbox and Tailer may be used by many goroutines; a tailer runs once at a time and calls its handler from one goroutine.
package outbox
