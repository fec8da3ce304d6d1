package binlog_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/binlog"
)

// A program that prints what changes in the database shop. It needs a server, so it is compiled here and not run.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	source, err := binlog.New(binlog.Config{
		Addr: "127.0.0.1:3306", User: "cdc", Password: os.Getenv("CDC_PASSWORD"),
		Tables:      []string{"shop.*"},
		Checkpoints: cdc.File("cdc.json"),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	err = source.Run(ctx, func(_ context.Context, events []cdc.Event) error {
		for _, e := range events {
			if e.Kind == cdc.Epoch {
				fmt.Println("changes may be missing:", e.Reason, e.Detail)
				continue
			}
			fmt.Println(e.Kind, e.Table, e.Key)
		}
		return nil
	})
	if ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
