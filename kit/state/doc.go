// Package state keeps things in states that a table allows: an order is paid before it is shipped, once. A Machine is the
// table, checked when it is made; a Cell is the state of one thing in memory, a word that changes without a lock; a Table
// makes the same steps on rows of MySQL, MariaDB or SQLite, inside the caller's transaction and with idempotency keys.
//
//	machine := order.Machine()                      // or state.New with a table of your own
//	cell := machine.NewCell()
//	step, err := cell.Fire(order.Pay)               // CREATED to PAID, version 1
//	_, err = cell.FireAt(step.Version, order.Ship)  // only if nothing has happened since
//
//	rows, err := machine.NewTable(state.TableConfig{Dialect: state.MySQL, Table: "orders"})
//	step, err = rows.Apply(ctx, tx, orderID, order.Pay, paymentID)
//
// Guards are left out on purpose: a condition that is not in the table is not in the drawing and not in the row either.
// Who fires decides which event it is.
//
// # What is promised when things fail
//
// A step is made whole or not at all, and each has a version of its own, one more than the one before. In memory that is
// one compare and swap. In a database it is the caller's transaction: after a crash, a broken connection or a rollback
// nothing has happened, neither to the row nor to the idempotency key; if it is not known whether the commit came
// through, Apply again with the same key and get the first result. What is refused (ErrNotAllowed, ErrConflict) changes
// nothing and is not noted: the same event with the same key is judged anew next time.
//
// # Concurrency
//
// A Machine and a Table do not change; a Cell may be used by any number of goroutines. Steps on one row follow one
// another by the row's lock, steps on different rows do not meet.
package state
