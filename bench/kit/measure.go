package kit

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Row is one kind of work and two ways to do it.
type Row struct {
	Name string // what is done, and in parentheses what the other side is
	What string // how to read it
	Ours func() (*Side, error)
	Peer func() (*Side, error)
}

// Side is one way to do the work of a row, ready for use.
type Side struct {
	// Do makes n operations as the goroutine of number g, 0 or 1. A result that is not the wanted one is an error.
	Do func(g, n int) error
	// End frees what the side holds; nil means nothing.
	End func()
}

// close ends a side.
func (s *Side) close() {
	if s.End != nil {
		s.End()
	}
}

// Figures are what one operation costs.
type Figures struct {
	// Nanos is the time between the ends of two operations, of all goroutines together; CPU is the time of processors that one
	// takes, both in nanoseconds.
	Nanos, CPU float64
	Allocs     float64
}

// Measure has goroutines goroutines make n operations each.
func Measure(s *Side, goroutines, n int) (Figures, error) {
	errs := make([]error, goroutines)
	var before, after runtime.MemStats
	var begin, done sync.WaitGroup
	begin.Add(1)
	for g := range goroutines {
		done.Go(func() {
			begin.Wait()
			errs[g] = s.Do(g, n)
		})
	}
	runtime.GC() // what others have left behind is not the side's
	runtime.ReadMemStats(&before)
	used, began := cpu(), time.Now()
	begin.Done()
	done.Wait()
	took := time.Since(began)
	used = cpu() - used
	runtime.ReadMemStats(&after)
	for _, err := range errs {
		if err != nil {
			return Figures{}, err
		}
	}
	all := float64(goroutines * n)
	return Figures{Nanos: float64(took) / all, CPU: float64(used) / all, Allocs: float64(after.Mallocs-before.Mallocs) / all}, nil
}

// cpu is what this process has used so far of all processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// operationsMax bounds one measurement of what costs nearly nothing.
const operationsMax = 100_000_000

// calibrate finds how many operations take about that long.
func calibrate(s *Side, goroutines int, wanted time.Duration) (int, error) {
	for n := 100; ; {
		f, err := Measure(s, goroutines, n)
		if err != nil {
			return 0, err
		}
		took := time.Duration(f.Nanos * float64(goroutines*n))
		if took >= wanted/2 || n >= operationsMax {
			return max(1, int(float64(n)*float64(wanted)/float64(max(took, 1)))), nil
		}
		n = min(operationsMax, max(2*n, int(float64(n)*0.8*float64(wanted)/float64(max(took, 1)))))
	}
}

// Pair is the figures of both sides of a row at some number of goroutines.
type Pair struct{ Ours, Peer Figures }

// Run measures a row at 1 and at 2 goroutines, as often as rounds says, for about each at a time. It returns medians. Within a round the sides follow
// each other directly, and who begins takes turns.
func (r *Row) Run(rounds int, each time.Duration) (of [2]Pair, err error) {
	ours, err := r.Ours()
	if err != nil {
		return of, fmt.Errorf("%s, ours: %w", r.Name, err)
	}
	defer ours.close()
	peer, err := r.Peer()
	if err != nil {
		return of, fmt.Errorf("%s, the other: %w", r.Name, err)
	}
	defer peer.close()
	sides := [2]*Side{ours, peer}
	for g := range of {
		var n [2]int
		for i, s := range sides {
			if n[i], err = calibrate(s, g+1, each); err != nil {
				return of, fmt.Errorf("%s, side %d: %w", r.Name, i, err)
			}
		}
		var all [2][]Figures
		for round := range rounds {
			for turn := range sides {
				i := (turn + round) % 2
				f, err := Measure(sides[i], g+1, n[i])
				if err != nil {
					return of, fmt.Errorf("%s, side %d: %w", r.Name, i, err)
				}
				all[i] = append(all[i], f)
			}
		}
		of[g] = Pair{medians(all[0]), medians(all[1])}
	}
	return of, nil
}

func medians(of []Figures) Figures {
	return Figures{
		Nanos:  median(of, func(f Figures) float64 { return f.Nanos }),
		CPU:    median(of, func(f Figures) float64 { return f.CPU }),
		Allocs: median(of, func(f Figures) float64 { return f.Allocs }),
	}
}

// median of some figure; the lower one of two in the middle. 0 of nothing.
func median[T any](of []T, figure func(T) float64) float64 {
	if len(of) == 0 {
		return 0
	}
	list := make([]float64, len(of))
	for i, f := range of {
		list[i] = figure(f)
	}
	slices.Sort(list)
	return list[(len(list)-1)/2]
}
