package kit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/yumen-io/yumen/kit/cache"
	"github.com/yumen-io/yumen/kit/state/order"
	"github.com/yumen-io/yumen/kit/work"
)

// Others is kit/state, kit/work and kit/cache beside what is written by hand.
func Others() []Row {
	return []Row{
		{
			Name: "state: a step of an order (the same table in a map, under a mutex)",
			What: "From CREATED to REFUNDED and again: three steps, each checked against the table, an operation being one step. With two goroutines each has " +
				"its own orders.",
			Ours: cells, Peer: locked,
		},
		{
			Name: "work: a task in a pool, waited for (a channel of functions)",
			What: "Two workers. Ours gives the task a context that ends with the pool, turns a panic into an error, and notes how long it waited; the " +
				"other does none of it.",
			Ours: pool, Peer: channel,
		},
		{
			Name: "cache: a hit in the process (a map under a read lock)",
			What: "Of 1,024 keys. The other neither forgets nor expires anything.",
			Ours: hit, Peer: mapped,
		},
	}
}

// journey is an order's, from its first state to its last.
var journey = [...]order.Event{order.Pay, order.Refund, order.RefundSettle}

func cells() (*Side, error) {
	machine := order.Machine()
	return &Side{Do: func(_, n int) error {
		for n > 0 {
			cell := machine.NewCell()
			for _, e := range journey[:min(n, len(journey))] {
				if _, err := cell.Fire(e); err != nil {
					return err
				}
			}
			n -= len(journey)
		}
		return nil
	}}, nil
}

// lockedOrder is a state machine as it is usually written.
type lockedOrder struct {
	mu      sync.Mutex
	state   order.State
	version uint64
}

type edge struct {
	from  order.State
	event order.Event
}

var errNotAllowed = errors.New("not allowed")

func (o *lockedOrder) fire(table map[edge]order.State, e order.Event) (order.State, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	to, ok := table[edge{o.state, e}]
	if !ok {
		return o.state, errNotAllowed
	}
	o.state = to
	o.version++
	return to, nil
}

func locked() (*Side, error) {
	table := map[edge]order.State{}
	machine := order.Machine()
	for _, s := range machine.States() {
		for _, e := range machine.Events(s) {
			table[edge{s, e}], _ = machine.Next(s, e)
		}
	}
	return &Side{Do: func(_, n int) error {
		for n > 0 {
			o := &lockedOrder{}
			for _, e := range journey[:min(n, len(journey))] {
				if _, err := o.fire(table, e); err != nil {
					return err
				}
			}
			n -= len(journey)
		}
		return nil
	}}, nil
}

const (
	workers = 2
	long    = 30 * 24 * time.Hour // longer than any run
)

func pool() (*Side, error) {
	p, err := work.NewPool(work.PoolConfig{Workers: workers})
	if err != nil {
		return nil, err
	}
	return &Side{
		Do: func(_, n int) error {
			ctx, f := context.Background(), func(context.Context) error { return nil }
			for range n {
				if err := p.Do(ctx, f); err != nil {
					return err
				}
			}
			return nil
		},
		End: func() { _ = p.Shutdown(context.Background()) },
	}, nil
}

func channel() (*Side, error) {
	type task struct {
		do   func(context.Context) error
		done chan error
	}
	tasks := make(chan task, 4*workers)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for t := range tasks {
				t.done <- t.do(context.Background())
			}
		})
	}
	return &Side{
		Do: func(_, n int) error {
			f := func(context.Context) error { return nil }
			for range n {
				t := task{f, make(chan error, 1)}
				tasks <- t
				if err := <-t.done; err != nil {
					return err
				}
			}
			return nil
		},
		End: func() { close(tasks); all.Wait() },
	}, nil
}

func hit() (*Side, error) {
	c, err := cache.New(cache.Config[string, string]{Name: "hit", NoEarlyRefresh: true, TTL: long, LocalTTL: long,
		Load: func(_ context.Context, key string) (string, uint64, error) { return key, 1, nil }})
	if err != nil {
		return nil, err
	}
	keys := users(usersN)
	return &Side{End: c.Close, Do: func(_, n int) error {
		ctx := context.Background()
		for i := range n {
			if _, err := c.Get(ctx, keys[i%len(keys)]); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

func mapped() (*Side, error) {
	var mu sync.RWMutex
	of := map[string]string{}
	keys := users(usersN)
	for _, k := range keys {
		of[k] = k
	}
	return &Side{Do: func(_, n int) error {
		for i := range n {
			mu.RLock()
			_, ok := of[keys[i%len(keys)]]
			mu.RUnlock()
			if !ok {
				return errors.New("not there")
			}
		}
		return nil
	}}, nil
}
