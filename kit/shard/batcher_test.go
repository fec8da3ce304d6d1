package shard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func batcherOf(t testing.TB, cfg BatchConfig) *Batcher {
	t.Helper()
	cfg.Table, cfg.Columns = "orders", []string{"id", "user_id", "n", "note"}
	b, err := NewBatcher(cfg)
	must(t, err)
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

// Batches of eight, two bad rows in the middle: they alone fail, with the database's own words.
func TestBadRowsOfABatchFailAlone(t *testing.T) {
	onEach(t, 2, 2, 16, func(t *testing.T, w *world) {
		r := w.router()
		b := batcherOf(t, BatchConfig{Router: r, Rows: 8, Delay: time.Minute})
		user := userIn(3, 16, 0)
		must(t, w.insert(r, 1005, user, 0))
		results := make([]error, 16)
		var done sync.WaitGroup
		for i := range results {
			done.Add(1)
			id := int64(1000 + i)
			must(t, b.Queue(t.Context(), r.For(user), []any{id, user, int64(i), "x"}, func(err error) { results[i] = err; done.Done() }))
			if i != 5 {
				w.want[id] = row{user, int64(i)}
			}
		}
		done.Wait()
		must(t, b.Close(t.Context())) // the bytes of a batch are given back after its last result
		for i, err := range results {
			if (err != nil) != (i == 5) {
				t.Errorf("row %d: %v", i, err)
			}
		}
		if err := results[5]; err == nil || !strings.Contains(strings.ToLower(err.Error()), "duplicate") && !strings.Contains(err.Error(), "UNIQUE") {
			t.Error(err)
		}
		if s := b.Stats(); s.Rows != 15 || s.Failed != 1 || s.Bisected != 3 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		w.check()
	})
}

// The slot of some rows is moving, and has moved: they go where the others do not.
func TestABatchWithSlotsOnTheirWay(t *testing.T) {
	onEach(t, 2, 1, 4, func(t *testing.T, w *world) {
		r := w.router()
		b := batcherOf(t, BatchConfig{Router: r, Delay: time.Millisecond})
		id := int64(0)
		batch := func() {
			t.Helper()
			var done sync.WaitGroup
			for i := range 30 {
				id++
				user := userIn(i%2, 4, 0)
				w.want[id] = row{user, 1}
				done.Add(1)
				must(t, b.Queue(t.Context(), r.For(user), []any{id, user, 1, nil}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					done.Done()
				}))
			}
			done.Wait()
		}
		batch()
		m, _ := w.moverUntil("before a chunk is copied", 1)
		if _, err := m.Move(t.Context(), 1, Place{1, 0}); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		batch()
		if s := r.Stats(); s.Echoes == 0 {
			t.Fatalf("%+v", s)
		}
		m, _ = w.mover(-1)
		must(t, m.Resume(t.Context()))
		batch()
		batch()
		w.check()
	})
}

func TestABatchIsWrittenByRowsByBytesAndAfterADelay(t *testing.T) {
	for _, c := range []struct {
		cfg     BatchConfig
		rows    int
		batches uint64
		waits   time.Duration
	}{
		{BatchConfig{Rows: 5, Delay: time.Minute}, 10, 2, 0},
		{BatchConfig{Rows: 1000, Bytes: 1000, Delay: time.Minute}, 8, 2, 0}, // a row is 328 bytes
		{BatchConfig{Delay: 30 * time.Second}, 7, 1, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := sqliteWorld(t, 1, 1, 1)
			c.cfg.Router = w.router()
			b := batcherOf(t, c.cfg)
			begun := time.Now()
			var done sync.WaitGroup
			for i := range c.rows {
				done.Add(1)
				must(t, b.Queue(t.Context(), c.cfg.Router.For(1), []any{i, 1, 1, strings.Repeat("x", 200)}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					done.Done()
				}))
			}
			if c.cfg.Bytes == 1000 {
				synctest.Wait()
				if s := b.Stats(); s.Rows != 8 && s.Batches != 2 {
					t.Errorf("%+v", s)
				}
			}
			done.Wait()
			if s := b.Stats(); s.Batches != c.batches || time.Since(begun) != c.waits {
				t.Errorf("%+v after %s", s, time.Since(begun))
			}
		})
	}
}

// With a full lane Queue waits until its context ends, or there is room.
func TestAFullLaneHoldsItsWritersBack(t *testing.T) {
	w := sqliteWorld(t, 1, 1, 1)
	r := w.router()
	b := batcherOf(t, BatchConfig{Router: r, Rows: 1, Bytes: 1000, QueueBytes: 1000, Delay: time.Minute})
	// The lane stands still: its first row is not done.
	release, entered := make(chan struct{}), make(chan struct{})
	must(t, b.Queue(t.Context(), r.For(1), []any{1, 1, 1, strings.Repeat("x", 500)}, func(error) { close(entered); <-release }))
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Queue(ctx, r.For(1), []any{2, 1, 1, strings.Repeat("x", 500)}, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(release)
	must(t, b.Insert(t.Context(), r.For(1), 3, 1, 1, strings.Repeat("x", 500)))
	must(t, b.Close(t.Context()))
	if err := b.Insert(t.Context(), r.For(1), 4, 1, 1, ""); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if s := b.Stats(); s.Waiting != 0 || s.Rows != 2 {
		t.Fatalf("%+v", s)
	}
}

func TestCloseWritesWhatWaits(t *testing.T) {
	w := sqliteWorld(t, 1, 2, 16)
	r := w.router()
	b := batcherOf(t, BatchConfig{Router: r, Delay: time.Minute})
	results := make(chan error, 100)
	for i := range int64(100) {
		w.want[i] = row{i, i}
		must(t, b.Queue(t.Context(), r.For(i), []any{i, i, i, nil}, func(err error) { results <- err }))
	}
	must(t, b.Close(t.Context()))
	for range 100 {
		must(t, <-results)
	}
	w.check()
}

func BenchmarkInserts(b *testing.B) {
	for _, rows := range []int{1, 500} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			w := sqliteWorld(b, 1, 1, 16)
			r := w.router()
			ba := batcherOf(b, BatchConfig{Router: r, Rows: rows})
			b.ReportAllocs()
			id := int64(0)
			var done sync.WaitGroup
			for b.Loop() {
				id++
				done.Add(1)
				must(b, ba.Queue(b.Context(), r.For(id), []any{id, id, id, nil}, func(error) { done.Done() }))
			}
			done.Wait()
		})
	}
}
