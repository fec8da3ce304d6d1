package id_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/yumen-io/yumen/kit/id"
)

// A service with one process makes ids for the orders of user 4711, whose rows are in database 3, table 7.
func Example() {
	ctx := context.Background()
	clock := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) // leave Clock out to have the time of day
	ids, err := id.New(id.Config{
		Layout: id.Seed(),
		Worker: id.Fixed(5), // several processes lease theirs: package etcdworker
		Clock:  func() time.Time { return clock },
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	v, err := ids.Next(ctx, 3, 7)
	if err != nil {
		fmt.Println(err) // errors.Is: id.ErrNoWorker, id.ErrClockBack
		return
	}
	text, err := json.Marshal(map[string]id.ID{"order": v})
	fmt.Println(string(text), err)

	p, err := ids.Layout().Parse(v)
	fmt.Println(p.Time.Format(time.RFC3339), "shard", p.Shard, "table", p.Table, "worker", p.Worker, "sequence", p.Sequence, err)

	batch := make([]id.ID, 3)
	n, err := ids.Fill(ctx, 3, 7, batch)
	fmt.Println(n, batch[0]-v, batch[1]-v, batch[2]-v, err)

	// Output:
	// {"order":"187173332586024960"} <nil>
	// 2026-06-01T12:00:00Z shard 3 table 7 worker 5 sequence 0 <nil>
	// 3 1 2 3 <nil>
}
