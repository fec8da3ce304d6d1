package work_test

import (
	"context"
	"fmt"
	"time"

	"github.com/yumen-io/yumen/kit/work"
)

// A request that asks three replicas and goes on when two have answered, and leaves something to do behind.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	replica := func(name string, hangs bool) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			if hangs {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "stored by " + name, nil
		}
	}
	results, err := work.Run(ctx, work.FanOut{Mode: work.Quorum}, replica("a", false), replica("b", true), replica("c", false))
	fmt.Println(results[0].Value, results[1].Err, results[2].Value, err)

	receipt := work.Go(ctx, "send receipt", func(ctx context.Context) error {
		fmt.Println("the request has ended, its context here goes on:", ctx.Err())
		return nil
	})
	cancel()
	receipt.Wait(context.Background())
	// Output:
	// stored by a work: not needed stored by c <nil>
	// the request has ended, its context here goes on: <nil>
}
