package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Mode is when a fan-out has what it wants.
type Mode uint8

// Modes.
const (
	All    Mode = iota // every task has succeeded; the first error ends it
	First              // one task has
	Quorum             // so many tasks have (FanOut.Need)
)

var modeWords = [...]string{"all", "first", "quorum"}

// String returns the word of logs.
func (m Mode) String() string { return modeWords[m] }

// FanOut says how tasks run together. The zero value runs all at once and wants all of them.
type FanOut struct {
	Mode Mode
	// Need is how many must succeed in mode Quorum, 1 to the number of tasks; 0 means more than half.
	Need int
	// Parallel is how many run at a time; 0 means all.
	Parallel int
	// Reserve of the time that the context leaves is kept for what the caller does with the results.
	Reserve time.Duration
	// TaskMax is how long a task may run at most; 0 means what its part of the time allows.
	TaskMax time.Duration
}

// Result is what became of one task.
type Result[T any] struct {
	Value T
	// Err is the task's; ErrNotRun if it was not begun, or had not ended when it was not needed any more.
	Err  error
	Took time.Duration
}

// ErrNotRun is the Err of a Result that nobody waited for.
var ErrNotRun = errors.New("work: not needed")

// ErrNotEnough says that too few tasks succeeded; it comes joined with their errors.
var ErrNotEnough = errors.New("work: too few succeeded")

// ended is a Result on its way.
type ended[T any] struct {
	index  int
	result Result[T]
}

// Run runs tasks together, and returns a Result for each, in their order. The error is nil if the Mode is content; else it has the tasks'
// errors in it, or ctx's. When the outcome is known, tasks that run are cancelled, and others are not begun. In mode All it returns when all that were begun
// have ended; in modes First and Quorum at once, so tasks must not write what the caller reads.
//
// If ctx has a deadline, what it leaves, less Reserve, is divided: a task gets an equal part for itself and each round of tasks after it, so
// that one that is slow takes no time from those that have not begun.
func Run[T any](ctx context.Context, cfg FanOut, tasks ...func(context.Context) (T, error)) ([]Result[T], error) {
	results := make([]Result[T], len(tasks))
	for i := range results {
		results[i].Err = ErrNotRun
	}
	need, err := cfg.need(len(tasks))
	if err != nil || len(tasks) == 0 {
		return results, err
	}
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	parallel := len(tasks)
	if cfg.Parallel > 0 {
		parallel = min(cfg.Parallel, parallel)
	}
	next := make(chan int, len(tasks))
	for i := range tasks {
		next <- i
	}
	close(next)
	ends := make(chan ended[T], len(tasks)) // has room for all, so that late ones do not wait for anybody
	var begun sync.WaitGroup
	for range parallel {
		begun.Go(func() {
			for i := range next {
				if own.Err() != nil {
					return
				}
				ends <- ended[T]{i, runOne(own, cfg, (len(tasks)-i+parallel-1)/parallel, tasks[i])}
			}
		})
	}
	err = collect(ctx, cfg, need, results, ends)
	if cfg.Mode == All {
		cancel()
		begun.Wait()
		for range len(ends) {
			e := <-ends
			results[e.index] = e.result
		}
	}
	return results, err
}

// need is how many must succeed.
func (cfg *FanOut) need(tasks int) (int, error) {
	var wrong []error
	if cfg.Mode > Quorum {
		wrong = append(wrong, fmt.Errorf("work: Mode: %d is none", cfg.Mode))
	}
	if cfg.Need < 0 || cfg.Need > tasks || cfg.Need > 0 && cfg.Mode != Quorum {
		wrong = append(wrong, fmt.Errorf("work: Need: %d is not between 1 and %d tasks, in mode quorum", cfg.Need, tasks))
	}
	if cfg.Parallel < 0 || cfg.Reserve < 0 || cfg.TaskMax < 0 {
		wrong = append(wrong, errors.New("work: Parallel, Reserve, TaskMax: none is below 0"))
	}
	switch {
	case wrong != nil:
		return 0, errors.Join(wrong...)
	case cfg.Mode == First:
		return 1, nil
	case cfg.Mode == All:
		return tasks, nil
	case cfg.Need > 0:
		return cfg.Need, nil
	}
	return tasks/2 + 1, nil
}

// collect takes results in until the outcome is known.
func collect[T any](ctx context.Context, cfg FanOut, need int, results []Result[T], ends <-chan ended[T]) error {
	succeeded, failed := 0, 0
	var errs []error
	for succeeded < need {
		select {
		case e := <-ends:
			results[e.index] = e.result
			if e.result.Err == nil {
				succeeded++
				continue
			}
			failed++
			errs = append(errs, fmt.Errorf("task %d: %w", e.index, e.result.Err))
			if len(results)-failed < need {
				if cfg.Mode == All {
					return errs[0]
				}
				return errors.Join(append([]error{ErrNotEnough}, errs...)...)
			}
		case <-ctx.Done():
			return errors.Join(append([]error{ctx.Err()}, errs...)...)
		}
	}
	return nil
}

// runOne runs a task with its part of the time; rounds is how many there are to come, its own included.
func runOne[T any](ctx context.Context, cfg FanOut, rounds int, f func(context.Context) (T, error)) (r Result[T]) {
	begun := time.Now()
	part := time.Duration(-1)
	if deadline, ok := ctx.Deadline(); ok {
		if part = (deadline.Sub(begun) - cfg.Reserve) / time.Duration(rounds); part <= 0 {
			r.Err = fmt.Errorf("work: no time is left for it: %w", context.DeadlineExceeded)
			return r
		}
	}
	if cfg.TaskMax > 0 && (part < 0 || part > cfg.TaskMax) {
		part = cfg.TaskMax
	}
	if part > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, part)
		defer cancel()
	}
	r.Err = guarded(func() (err error) {
		r.Value, err = f(ctx)
		return err
	})
	r.Took = time.Since(begun)
	return r
}
