// Package handover is how both drivers wait and how they hand events over: again and again until the handler takes them.
package handover

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
)

// Backoff is full jitter: a wait is uniform between nothing and a bound that doubles from Min to Max.
type Backoff struct {
	Min, Max time.Duration
	bound    time.Duration
}

// Next is how long to wait now.
func (b *Backoff) Next() time.Duration {
	switch {
	case b.bound == 0:
		b.bound = b.Min
	case b.bound > b.Max/2:
		b.bound = b.Max
	default:
		b.bound *= 2
	}
	return rand.N(b.bound + 1)
}

// Reset begins from Min.
func (b *Backoff) Reset() { b.bound = 0 }

// Sleep waits, and returns ctx's error if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Deliver calls handle until it returns nil, with pauses, and returns ctx's error if that ends first. failed is told each
// error, and how many there were for these events.
func Deliver(ctx context.Context, handle cdc.Handler, events []cdc.Event, pause Backoff, failed func(err error, times int)) error {
	for times := 1; ; times++ {
		err := call(ctx, handle, events)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed(err, times)
		if err := Sleep(ctx, pause.Next()); err != nil {
			return err
		}
	}
}

// call turns a panic into an error: what cannot be handled is kept, and the program lives on.
func call(ctx context.Context, handle cdc.Handler, events []cdc.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cdc: the handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return handle(ctx, events)
}
