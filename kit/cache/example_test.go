package cache_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
	"github.com/yumen-io/yumen/kit/cache"
)

// Two nodes of a service that share what they loaded, and hear of a change. (miniredis stands for the Redis of a cluster.)
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	var version atomic.Uint64 // of the one row of the table
	version.Store(1)
	node := func() (*cache.Cache[int64, string], error) {
		return cache.New(cache.Config[int64, string]{
			Name:  "users",
			Redis: cache.Redis{Addresses: []string{server.Addr()}},
			Load: func(_ context.Context, id int64) (string, uint64, error) {
				if id != 17 {
					return "", 0, cache.ErrNotFound
				}
				v := version.Load()
				return fmt.Sprintf("ann, %d", v), v, nil
			},
		})
	}
	first, err := node()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer first.Close()
	second, err := node()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer second.Close()

	ctx := context.Background()
	show := func(c *cache.Cache[int64, string], id int64) {
		v, err := c.Get(ctx, id)
		fmt.Printf("%q from %v, %v\n", v.Value, v.Source, err)
	}
	show(first, 17)
	show(first, 17)
	show(second, 17)
	show(second, 18)

	version.Store(2)
	if err := second.Invalidate(ctx, cache.Event[int64]{Key: 17, Version: 2}); err != nil {
		fmt.Println(err)
	}
	show(second, 17)
	// Output:
	// "ann, 1" from loader, <nil>
	// "ann, 1" from l1, <nil>
	// "ann, 1" from l2, <nil>
	// "" from loader, cache: not found
	// "ann, 2" from loader, <nil>
}
