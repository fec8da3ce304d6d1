package redis_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/limit/redis"
)

// Two instances of a service that share five requests a minute. (miniredis stands for the Redis of a cluster.)
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	instance := func() (*limit.Limiter, func(), error) {
		store, err := redis.Open(redis.Config{Address: server.Addr()})
		if err != nil {
			return nil, nil, err
		}
		l, err := limit.New(limit.Config{Name: "per-user", Count: 5, Per: time.Minute, Store: store})
		return l, func() { l.Close(); store.Close() }, err
	}
	first, end, err := instance()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	second, end, err := instance()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()

	passed := 0
	for range 10 {
		for _, l := range []*limit.Limiter{first, second} {
			if l.Allow(context.Background(), "ann") == nil {
				passed++
			}
		}
	}
	fmt.Println(passed, "passed")
	// Output: 5 passed
}
