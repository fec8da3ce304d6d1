package mq_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/mq"
)

// A handler whose rows are written once, though a batch comes twice, as it does after a crash between the work and the commit of its offset. Packages kafka and
// local have the consumers that call it; here it is called by hand.
func Example() {
	if err := bill(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// 2 bills
	// 2 bills
	// 3 bills
}

func bill() error {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE bills (text TEXT NOT NULL)"); err != nil {
		return err
	}
	offsets, err := mq.NewOffsets(mq.OffsetsConfig{DB: db, Group: "billing"})
	if err != nil {
		return err
	}
	if err := offsets.CreateTable(ctx); err != nil {
		return err
	}
	handler := offsets.Handler(func(ctx context.Context, tx *sql.Tx, batch mq.Batch) error {
		for _, m := range batch.Messages {
			if _, err := tx.ExecContext(ctx, "INSERT INTO bills VALUES (?)", string(m.Value)); err != nil {
				return err // the transaction is rolled back, and the batch comes again
			}
		}
		return nil
	})

	// A consumer claims a partition when it is given one (its Claim is offsets.Claim), and passes the epoch on with each batch.
	at, err := offsets.Claim(ctx, "orders", 0)
	if err != nil {
		return err
	}
	batch := mq.Batch{Topic: "orders", Partition: 0, Epoch: at.Epoch, Messages: []mq.Message{
		{Topic: "orders", Offset: 0, Value: []byte("order 1")},
		{Topic: "orders", Offset: 1, Value: []byte("order 2")},
	}}
	longer := batch
	longer.Messages = append(longer.Messages[:2:2], mq.Message{Topic: "orders", Offset: 2, Value: []byte("order 3")})
	for _, b := range []mq.Batch{batch, batch, longer} {
		if err := handler(ctx, b); err != nil {
			return err
		}
		var n int
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM bills").Scan(&n); err != nil {
			return err
		}
		fmt.Println(n, "bills")
	}
	return nil
}
