package kit

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/yumen-io/yumen/kit/breaker"
	"github.com/yumen-io/yumen/kit/limit"
)

var errDown = errors.New("down")

// Breakers is kit/breaker beside sony/gobreaker.
func Breakers() []Row {
	const window = 10 * time.Second
	return []Row{
		{
			Name: "a call that goes well (gobreaker, buckets)",
			What: "Begin and End against Allow and done. Both look at the last 10 s, in steps of a second. Ours finds the breaker by a key first, " +
				"and keeps latencies.",
			Ours: begun, Peer: func() (*Side, error) { return twoStep(gobreaker.Settings{Interval: window, BucketPeriod: time.Second}) },
		},
		{
			Name: "a call that goes well (gobreaker, fixed interval)",
			What: "The other by default: one count that is thrown away at the end of each interval.",
			Ours: begun, Peer: func() (*Side, error) { return twoStep(gobreaker.Settings{Interval: window}) },
		},
		{
			Name: "Do with a function that returns (gobreaker, Execute)",
			What: "The same with a function around the call.",
			Ours: done, Peer: execute,
		},
		{
			Name: "a call that is refused (gobreaker)",
			What: "The breaker is open for the whole time. Our refusal is an error that says why, and until when.",
			Ours: refused, Peer: refusedByOther,
		},
	}
}

func breakers(cfg breaker.Config) (*breaker.Breaker, error) {
	cfg.Logger = slog.New(slog.DiscardHandler)
	return breaker.New(cfg)
}

func begun() (*Side, error) {
	b, err := breakers(breaker.Config{})
	if err != nil {
		return nil, err
	}
	return &Side{Do: func(_, n int) error {
		for range n {
			c, err := b.Begin("db")
			if err != nil {
				return err
			}
			c.End(breaker.Success)
		}
		return nil
	}}, nil
}

func twoStep(s gobreaker.Settings) (*Side, error) {
	b := gobreaker.NewTwoStepCircuitBreaker[struct{}](s)
	return &Side{Do: func(_, n int) error {
		for range n {
			end, err := b.Allow()
			if err != nil {
				return err
			}
			end(nil)
		}
		return nil
	}}, nil
}

func done() (*Side, error) {
	b, err := breakers(breaker.Config{})
	if err != nil {
		return nil, err
	}
	return &Side{Do: func(_, n int) error {
		ctx, f := context.Background(), func(context.Context) error { return nil }
		for range n {
			if err := b.Do(ctx, "db", f); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

func execute() (*Side, error) {
	b := gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second})
	return &Side{Do: func(_, n int) error {
		f := func() (struct{}, error) { return struct{}{}, nil }
		for range n {
			if _, err := b.Execute(f); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

func refused() (*Side, error) {
	// A clock that stands keeps it open.
	now := time.Now()
	b, err := breakers(breaker.Config{Consecutive: 1, Clock: func() time.Time { return now }})
	if err != nil {
		return nil, err
	}
	c, err := b.Begin("db")
	if err != nil {
		return nil, err
	}
	c.End(breaker.Failure)
	return &Side{Do: func(_, n int) error {
		for range n {
			if _, err := b.Begin("db"); !errors.Is(err, breaker.ErrOpen) {
				return errors.Join(errors.New("not refused"), err)
			}
		}
		return nil
	}}, nil
}

func refusedByOther() (*Side, error) {
	b := gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout: 24 * time.Hour, ReadyToTrip: func(gobreaker.Counts) bool { return true },
	})
	end, err := b.Allow()
	if err != nil {
		return nil, err
	}
	end(errDown)
	return &Side{Do: func(_, n int) error {
		for range n {
			if _, err := b.Allow(); !errors.Is(err, gobreaker.ErrOpenState) {
				return errors.Join(errors.New("not refused"), err)
			}
		}
		return nil
	}}, nil
}

// users are the keys of a limiter.
func users(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = "user-" + strconv.Itoa(i)
	}
	return list
}

const usersN = 1024

// Limiters is kit/limit beside x/time/rate.
func Limiters() []Row {
	return []Row{
		{
			Name: "one key, let through (x/time/rate, one Limiter)",
			What: "A token bucket that never runs dry. Ours finds the bucket by its key first.",
			Ours: func() (*Side, error) { return allowed(1) }, Peer: func() (*Side, error) { return bucket(), nil },
		},
		{
			Name: "1,024 keys, let through (x/time/rate in a map under a mutex)",
			What: "A bucket for each user. The other is what programs write around x/time/rate, without anything that forgets users who do not come back.",
			Ours: func() (*Side, error) { return allowed(usersN) }, Peer: func() (*Side, error) { return buckets(), nil },
		},
		{
			Name: "one key, refused (x/time/rate, one Limiter)",
			What: "The bucket is empty for the whole time. Our refusal is an error with quota, remainder and when to come again.",
			Ours: over, Peer: overByOther,
		},
	}
}

func allowed(count int) (*Side, error) {
	keys := users(count)
	l, err := limit.New(limit.Config{Count: 1e9})
	if err != nil {
		return nil, err
	}
	return &Side{End: l.Close, Do: func(_, n int) error {
		ctx := context.Background()
		for i := range n {
			if err := l.Allow(ctx, keys[i%len(keys)]); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

var errRefused = errors.New("refused")

func bucket() *Side {
	l := rate.NewLimiter(1e9, 1e9)
	return &Side{Do: func(_, n int) error {
		for range n {
			if !l.Allow() {
				return errRefused
			}
		}
		return nil
	}}
}

func buckets() *Side {
	keys := users(usersN)
	var mu sync.Mutex
	of := map[string]*rate.Limiter{}
	allow := func(key string) bool {
		mu.Lock()
		l := of[key]
		if l == nil {
			l = rate.NewLimiter(1e9, 1e9)
			of[key] = l
		}
		mu.Unlock()
		return l.Allow()
	}
	return &Side{Do: func(_, n int) error {
		for i := range n {
			if !allow(keys[i%len(keys)]) {
				return errRefused
			}
		}
		return nil
	}}
}

func over() (*Side, error) {
	l, err := limit.New(limit.Config{Count: 1, Per: time.Hour})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	_ = l.Allow(ctx, "user-0") // the one of this hour
	return &Side{End: l.Close, Do: func(_, n int) error {
		for range n {
			if l.Allow(ctx, "user-0") == nil {
				return errors.New("not refused")
			}
		}
		return nil
	}}, nil
}

func overByOther() (*Side, error) {
	l := rate.NewLimiter(rate.Every(time.Hour), 1)
	l.Allow()
	return &Side{Do: func(_, n int) error {
		for range n {
			if l.Allow() {
				return errors.New("not refused")
			}
		}
		return nil
	}}, nil
}
