package cdc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
)

// A program keeps the prices of a shop in memory. What is shown is its handler, which every Source calls alike, and where a Source keeps how far it has come;
// packages binlog and outbox have the sources. The events are made by hand here, as in a test of such a handler.
func Example() {
	if err := program(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// after two transactions: map[lamp:19.50]
	// after an epoch by gap: map[]
	// goes on after 0-1-42
}

func program() error {
	ctx := context.Background()
	prices := map[string]string{}
	var handle cdc.Handler = func(_ context.Context, events []cdc.Event) error {
		for _, e := range events {
			switch e.Kind {
			case cdc.Insert, cdc.Update:
				price, ok := e.After.Get("price")
				if !ok {
					return fmt.Errorf("table %s has no column price", e.Table)
				}
				prices[e.Key] = price.(string) // a DECIMAL comes with all its digits
			case cdc.Delete:
				delete(prices, e.Key)
			case cdc.Epoch:
				clear(prices) // changes may be missing, so that what is asked for next is read from the table
			}
		}
		return nil // an error would bring the same events again
	}

	row := func(price string) *cdc.Row {
		return &cdc.Row{Columns: []string{"id", "price"}, Values: []any{"lamp", price}}
	}
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	err := handle(ctx, []cdc.Event{
		{Kind: cdc.Insert, Database: "shop", Table: "prices", Key: "lamp", After: row("21.00"), Transaction: "0-1-41", Last: true, Time: now},
		{Kind: cdc.Update, Database: "shop", Table: "prices", Key: "lamp", Before: row("21.00"), After: row("19.50"), Transaction: "0-1-42", Last: true, Time: now},
	})
	if err != nil {
		return err
	}
	fmt.Println("after two transactions:", prices)
	if err := handle(ctx, []cdc.Event{{Kind: cdc.Epoch, Epoch: uint64(now.UnixMilli()), Reason: cdc.Gap, Last: true, Time: now}}); err != nil {
		return err
	}
	fmt.Println("after an epoch by gap:", prices)

	dir, err := os.MkdirTemp("", "prices")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	checkpoints := cdc.File(filepath.Join(dir, "checkpoint.json")) // or a table: cdc.NewTable
	if err := checkpoints.Save(ctx, cdc.Checkpoint{Position: "0-1-42"}); err != nil {
		return err
	}
	c, err := checkpoints.Load(ctx)
	fmt.Println("goes on after", c.Position)
	return err
}
