package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/outbox"
)

// A shop changes orders and says so. What is rolled back is not said.
func Example() {
	if err := shop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// orders 17: paid
	// orders 17: shipped
}

func shop() error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT); INSERT INTO orders VALUES (17, 'new')"); err != nil {
		return err
	}
	box, err := outbox.New(outbox.Config{DB: db, Dialect: outbox.SQLite})
	if err != nil {
		return err
	}
	if err := box.CreateTables(ctx); err != nil {
		return err
	}
	set := func(state string, commit bool) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET state = ? WHERE id = 17", state); err != nil {
			return err
		}
		if err := box.Append(ctx, tx, outbox.Message{Topic: "orders", Key: "17", Payload: []byte(state)}); err != nil || !commit {
			return err
		}
		return tx.Commit()
	}
	for _, s := range []struct {
		state  string
		commit bool
	}{{"paid", true}, {"cancelled", false}, {"shipped", true}} {
		if err := set(s.state, s.commit); err != nil {
			return err
		}
	}
	tailer, err := outbox.NewTailer(outbox.TailerConfig{Outbox: box})
	if err != nil {
		return err
	}
	err = tailer.Run(ctx, func(_ context.Context, events []cdc.Event) error {
		for _, e := range events {
			fmt.Printf("%s %s: %s\n", e.Topic, e.Key, e.Payload)
			if string(e.Payload) == "shipped" {
				stop() // a service would run on
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}
