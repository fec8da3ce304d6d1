package state_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/state"
)

// Door and Move are the states and events of a machine of one's own. Package order has a larger one.
type Door uint8

const (
	Shut Door = iota
	Open
	Gone
)

func (d Door) String() string { return [...]string{"SHUT", "OPEN", "GONE"}[min(d, Gone)] }

type Move uint8

const (
	Push Move = iota
	Pull
	Break
)

func (m Move) String() string { return [...]string{"push", "pull", "break"}[min(m, Break)] }

func Example() {
	machine, err := state.New(state.Config[Door, Move]{
		Name: "door", Initial: Shut, Final: []Door{Gone},
		Transitions: []state.Transition[Door, Move]{
			{From: Shut, Event: Push, To: Open},
			{From: Open, Event: Pull, To: Shut},
			{From: Open, Event: Break, To: Gone},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// In memory.
	door := machine.NewCell()
	step, err := door.Fire(Push)
	fmt.Println(step.From, "to", step.To, "version", step.Version, err)
	_, err = door.Fire(Push)
	fmt.Println(err, errors.Is(err, state.ErrNotAllowed))
	_, err = door.FireAt(0, Pull)
	fmt.Println(err, errors.Is(err, state.ErrConflict))

	// In a database.
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:doors?mode=memory&cache=shared&_txlock=immediate")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	doors, err := machine.NewTable(state.TableConfig{Dialect: state.SQLite, Table: "doors"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, statement := range []string{
		"CREATE TABLE doors (id INTEGER PRIMARY KEY, state TEXT NOT NULL, version INTEGER NOT NULL)",
		"INSERT INTO doors VALUES (7, 'SHUT', 0)",
		doors.LogSchema(),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			fmt.Println(err)
			return
		}
	}
	for range 2 { // the message that says so comes twice
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		step, err := doors.Apply(ctx, tx, 7, Push, "message-1")
		if err != nil {
			_ = tx.Rollback()
			fmt.Println(err)
			return
		}
		fmt.Println(step.To, "version", step.Version, "repeated", step.Repeated, tx.Commit())
	}

	// Output:
	// SHUT to OPEN version 1 <nil>
	// state: door: push is not allowed in OPEN (version 1) true
	// state: door: version 0 was wanted and 1 is there, in OPEN true
	// OPEN version 1 repeated false <nil>
	// OPEN version 1 repeated true <nil>
}
