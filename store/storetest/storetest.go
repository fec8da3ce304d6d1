// Package storetest puts load on limits that are shared through a store, and finds out what they let through together. It is for the
// tests of whoever stands on store.
package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// T is what this package needs of a *testing.T or *testing.B.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Eventually looks every few milliseconds, for as long as a busy machine may need.
func Eventually(t T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for give := time.NewTimer(20 * time.Second); ; {
		if ok() {
			return
		}
		select {
		case <-ticker.C:
		case <-give.C:
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// Within closes the channel after a while.
func Within(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}

// Tally is what a load found. B is who has judged.
type Tally[B comparable] struct {
	Admitted []time.Time // in order
	By       map[B]int
	Refused  int
	Slowest  time.Duration // of the verdicts

	mu sync.Mutex
}

// Load sends about perSecond requests through each ask, which do not wait for each other, until stop, and returns when all were
// judged.
func Load[B comparable](asks []func() (allowed bool, by B), perSecond int, stop <-chan struct{}) *Tally[B] {
	t := &Tally[B]{By: map[B]int{}}
	var wg sync.WaitGroup
	for _, ask := range asks {
		wg.Go(func() {
			ticker := time.NewTicker(2 * time.Millisecond)
			defer ticker.Stop()
			begun, sent := time.Now(), 0
			for {
				select {
				case <-stop:
					return
				case <-ticker.C:
				}
				for due := int(time.Since(begun).Seconds() * float64(perSecond)); sent < due; sent++ {
					wg.Go(func() {
						asked := time.Now()
						allowed, by := ask()
						t.note(asked, allowed, by)
					})
				}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(t.Admitted, time.Time.Compare)
	return t
}

func (t *Tally[B]) note(asked time.Time, allowed bool, by B) {
	at := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.By[by]++
	t.Slowest = max(t.Slowest, at.Sub(asked))
	if allowed {
		t.Admitted = append(t.Admitted, at)
	} else {
		t.Refused++
	}
}

// Over is the most that was admitted in any interval beyond what the rate allows in it.
func (t *Tally[B]) Over(rate float64) float64 {
	worst, run := 0.0, 0.0
	var last time.Time
	for _, at := range t.Admitted {
		run = max(run-rate*at.Sub(last).Seconds(), 0) + 1
		worst, last = max(worst, run), at
	}
	return worst
}

// Closest is the shortest time in which n+1 were admitted, and false if there were no more than n. It is by the clock of those who
// asked, a moment after it was decided.
func (t *Tally[B]) Closest(n int) (time.Duration, bool) {
	closest, found := time.Duration(0), false
	for i := 0; i+n < len(t.Admitted); i++ {
		if d := t.Admitted[i+n].Sub(t.Admitted[i]); !found || d < closest {
			closest, found = d, true
		}
	}
	return closest, found
}

func (t *Tally[B]) String() string {
	return fmt.Sprintf("%d admitted, %d refused, by %v", len(t.Admitted), t.Refused, t.By)
}
