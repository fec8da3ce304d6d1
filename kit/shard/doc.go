// Package shard spreads the rows of tables over databases and keeps plain database/sql in the program: the key of a row
// is hashed to one of 1,024 slots, and a map says in which database, and in which table there, each slot is. Statements
// name tables in braces, {orders}, and get the name of the key's table, orders_07. Slots move between databases while
// they are written to, so that growing from 32 to 64 databases moves slots and rehashes nothing.
//
//	m, _ := shard.Even(32, 8, 0)
//	store, err := shard.NewSQLStore(meta, shard.MySQL)
//	err = store.Setup(ctx, m)
//	r, err := shard.New(shard.Config{Databases: dbs, Dialect: shard.MySQL, Store: store,
//		Tables: []shard.Table{{Name: "orders", Key: "user_id"}}})
//	err = r.Setup(ctx)
//	_, err = r.For(user).Exec(ctx, "INSERT INTO {orders} (id, user_id) VALUES (?, ?)", id, user)
//
// # What is promised when things fail
//
// A write that was answered is in one place and stays there, over moves of its slot, crashes of the mover between any two
// steps, and databases that are killed. What is left half done by a crash is finished by calling Move or Resume again.
//
//   - Each database has a fence row for each slot, and each transaction that writes locks and reads it. A router with an
//     old map cannot write to a place that its slot has left: it finds the fence gone, and follows it.
//   - While a slot moves, its writers go one after another, and each statement is repeated at the new place. The old place
//     is the truth: a new one that is slow, dead or different costs a repair, never a write.
//   - No slot is switched that was not compared as a whole, rows and checksums, while nobody could write to it.
//   - Between leaving the old place and owning the new one, a moment unless the mover dies there, writes to that slot fail
//     with ErrNotHere; reads go on.
//   - Reads outside a transaction may be answered by the old place for ReadLease after a switch; nothing is removed there
//     before. When the store of the map does not answer for longer, reads ask the fence first and go on.
//   - A transaction over two shards is refused. What crosses shards is asked for by All, which reads only.
//   - Databases that were listed in the wrong order are found out before the first statement (ErrWrongDatabase).
//
// A Router with a Map in place of a Store has no fences: one round trip for a statement, and nothing that moves.
//
// # What is up to the program
//
// Statements must touch only rows of the key that they were sent for. Nobody may write around the Router while a slot
// moves. The key and the id of a row never change, and ids are unique over all shards (kit/id). Values come as arguments,
// not from NOW() or a sequence.
//
// # Concurrency
//
// All types may be used by many goroutines, except a Tx, which belongs to the function that it was given to. A Router
// starts a goroutine now and then to load the map, and Close waits for it; a Batcher has one for each table in use.
package shard
