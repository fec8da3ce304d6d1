package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/kit/mq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func delivery(t interface{ Fatal(...any) }, d mq.Delivery) mq.Delivery {
	d, err := d.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func messages(n int) []mq.Message {
	all := make([]mq.Message, n)
	for i := range all {
		all[i] = mq.Message{Topic: "t", Offset: int64(i), Value: []byte{byte(i)}}
	}
	return all
}

// world is what a lane did.
type world struct {
	sync.Mutex                     // the bubble's clock orders nothing for the race detector
	handled, dead, settled []int64 // offsets; settled has both in their order
	next                   int64
	attempts               map[int64]int
}

func (w *world) host(handle mq.Handler) Host {
	w.attempts = map[int64]int{}
	return Host{
		Handle: func(ctx context.Context, b mq.Batch) error {
			err := handle(ctx, b)
			w.Lock()
			defer w.Unlock()
			for _, m := range b.Messages {
				w.attempts[m.Offset]++
				if err == nil {
					w.handled = append(w.handled, m.Offset)
					w.settled = append(w.settled, m.Offset)
				}
			}
			return err
		},
		Dead: func(_ context.Context, m mq.Message, _ error, _ int) error {
			w.Lock()
			defer w.Unlock()
			w.dead = append(w.dead, m.Offset)
			w.settled = append(w.settled, m.Offset)
			return nil
		},
		Done:     func(next int64) { w.next = next },
		Room:     func() {},
		Counters: &Counters{},
		Logger:   slog.New(slog.DiscardHandler),
	}
}

// Whatever the handler says in whichever way: exactly the poisoned messages are dead, all others are handled once, and all
// of it happens in order.
func TestBisectingFindsThePoisonedOnesAndKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 80).Draw(t, "messages")
		poisoned := rapid.SliceOfNDistinct(rapid.Int64Range(0, int64(n-1)), 0, n, rapid.ID[int64]).Draw(t, "poisoned")
		slices.Sort(poisoned)
		words := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 40).Draw(t, "words")
		calls := 0
		w := &world{next: -1}
		host := w.host(func(_ context.Context, b mq.Batch) error {
			word := words[calls%len(words)]
			calls++
			if word == 9 && calls < 200 {
				return mq.Retry(errors.New("not now"))
			}
			if word == 8 && calls < 200 {
				return fmt.Errorf("asking: %w", context.DeadlineExceeded)
			}
			for i, m := range b.Messages {
				if !slices.Contains(poisoned, m.Offset) {
					continue
				}
				switch {
				case word < 3:
					return mq.Poison(errors.New("one of them"))
				case word < 6:
					return mq.PoisonAt(i, errors.New("this one"))
				case word == 6:
					panic("unreadable")
				default:
					return errors.New("unreadable")
				}
			}
			return nil
		})
		set := delivery(t, mq.Delivery{
			BatchMessages: rapid.IntRange(1, 40).Draw(t, "batch"), BatchDelay: -1, BackoffMin: 1, BackoffMax: 1, DeadRun: -1,
			Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"),
		})
		l := New("t", 0, set, host)
		l.Push(messages(n))
		for len(w.settled) < n {
			batch, ok := l.take(t.Context())
			if !ok || !l.deliver(t.Context(), batch) {
				t.Fatal("the lane ended")
			}
		}
		want := messages(n)
		for i, offset := range w.settled {
			if offset != want[i].Offset {
				t.Fatalf("order %v", w.settled)
			}
		}
		if !slices.Equal(w.dead, poisoned) && len(w.dead)+len(poisoned) > 0 {
			t.Fatalf("dead %v, want %v", w.dead, poisoned)
		}
		if w.next != int64(n) {
			t.Fatalf("next is %d, want %d", w.next, n)
		}
		if s := l.Stats(time.Now()); s.Buffered != 0 {
			t.Fatalf("%d buffered at the end", s.Buffered)
		}
	})
}

// Halving 512 messages with one poisoned takes 2 calls a level, not one a message.
func TestBisectingIsLogarithmic(t *testing.T) {
	calls := 0
	w := &world{}
	host := w.host(func(_ context.Context, b mq.Batch) error {
		calls++
		for _, m := range b.Messages {
			if m.Offset == 300 {
				return mq.Poison(errors.New("one"))
			}
		}
		return nil
	})
	l := New("t", 0, delivery(t, mq.Delivery{BatchMessages: 512}), host)
	if !l.deliver(t.Context(), messages(512)) || calls != 1+2*9 {
		t.Fatalf("%d calls", calls)
	}
}

// dead_run: a handler that fails for everything gives up ten messages, and then waits until it can handle one.
func TestDeadRunStopsBeforeTheTopicIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		begun := time.Now()
		host := w.host(func(context.Context, mq.Batch) error {
			if time.Since(begun) < time.Hour {
				return errors.New("connection refused, in somebody's own words")
			}
			return nil
		})
		l := New("t", 0, delivery(t, mq.Delivery{}), host)
		ctx, cancel := context.WithCancel(t.Context())
		go l.Run(ctx)
		l.Push(messages(100))
		<-time.After(59 * time.Minute)
		synctest.Wait()
		w.Lock()
		s := l.Stats(time.Now())
		if len(w.dead) != 10 || len(w.handled) != 0 || !s.Suspected || s.Buffered != 90 {
			t.Errorf("dead %d, handled %d, %+v", len(w.dead), len(w.handled), s)
		}
		w.Unlock()
		<-time.After(2 * time.Minute)
		synctest.Wait()
		w.Lock()
		s = l.Stats(time.Now())
		if len(w.dead) != 10 || len(w.handled) != 90 || s.Suspected || s.Next != 100 {
			t.Errorf("afterwards: dead %d, handled %d, %+v", len(w.dead), len(w.handled), s)
		}
		w.Unlock()
		cancel()
		<-l.Over()
	})
}

func TestFencedLaneClaimsAgainAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		var epochs []int64
		host := w.host(func(_ context.Context, b mq.Batch) error {
			epochs = append(epochs, b.Epoch)
			if b.Epoch < 9 {
				return fmt.Errorf("writing: %w", mq.ErrFenced)
			}
			return nil
		})
		host.Claim = func(context.Context) (int64, error) { return 9, nil }
		l := New("t", 0, delivery(t, mq.Delivery{}), host)
		l.SetEpoch(7)
		begun := time.Now()
		if !l.deliver(t.Context(), messages(3)) || !slices.Equal(epochs, []int64{7, 9}) || time.Since(begun) != FencedPause {
			t.Fatalf("epochs %v after %v", epochs, time.Since(begun))
		}
	})
}

func TestBatchEndsBySizeBytesOrDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		w := &world{}
		host := w.host(func(_ context.Context, b mq.Batch) error {
			w.Lock()
			defer w.Unlock()
			sizes = append(sizes, len(b.Messages))
			return nil
		})
		is := func(want ...int) bool {
			w.Lock()
			defer w.Unlock()
			return slices.Equal(sizes, want)
		}
		rooms := 0
		host.Room = func() {
			w.Lock()
			defer w.Unlock()
			rooms++
		}
		l := New("t", 0, delivery(t, mq.Delivery{BatchMessages: 10, BatchBytes: 1000, BatchDelay: time.Second}), host)
		ctx, cancel := context.WithCancel(t.Context())
		go l.Run(ctx)
		if l.Push(messages(13)) {
			t.Error("13 of 40 are full")
		}
		synctest.Wait()
		if !is(10) {
			t.Errorf("sizes %v before the delay", sizes)
		}
		<-time.After(time.Second)
		synctest.Wait()
		if !is(10, 3) {
			t.Errorf("sizes %v after the delay", sizes)
		}
		large := messages(4)
		for i := range large {
			large[i].Value = make([]byte, 400) // 464 with what is around: two fit
		}
		large[3].Value = make([]byte, 5000)
		if !l.Push(large) {
			t.Error("5 KB of 4 are not full")
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if !is(10, 3, 2, 1, 1) {
			t.Errorf("sizes %v", sizes)
		}
		cancel()
		<-l.Over()
		if rooms != 1 {
			t.Errorf("room %d times", rooms)
		}
	})
}

// A queue that has lost its end goes back. No batch spans that, or what comes again would count as new.
func TestOffsetsThatGoBackBeginABatch(t *testing.T) {
	var firsts []int64
	w := &world{}
	host := w.host(func(_ context.Context, b mq.Batch) error {
		firsts = append(firsts, b.Messages[0].Offset, b.Next())
		return nil
	})
	l := New("t", 0, delivery(t, mq.Delivery{BatchDelay: -1}), host)
	l.Push(messages(20)[10:])
	l.Push(messages(15))
	for range 2 {
		batch, _ := l.take(t.Context())
		l.deliver(t.Context(), batch)
	}
	if !slices.Equal(firsts, []int64{10, 20, 0, 15}) {
		t.Fatalf("%v", firsts)
	}
}

func TestDrainLetsTheHandlerFinishAndNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		host := w.host(func(ctx context.Context, b mq.Batch) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		l := New("t", 0, delivery(t, mq.Delivery{BatchMessages: 2, BatchDelay: -1}), host)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.Run(ctx)
		l.Push(messages(6))
		synctest.Wait()
		l.Drain()
		<-l.Over()
		if !slices.Equal(w.handled, []int64{0, 1}) {
			t.Errorf("handled %v", w.handled)
		}
	})
}

func TestDeadLetterKeepsTheMessageAndSaysWhy(t *testing.T) {
	m := mq.Message{Topic: "orders", Partition: 3, Offset: 17, Key: []byte("k"), Value: []byte("v"), Headers: []mq.Header{{Key: "a", Value: []byte("b")}}}
	dead := DeadLetter(m, delivery(t, mq.Delivery{}), "billing", errors.New("no such price"), 4, time.Unix(0, 0))
	got := dead.Topic + " " + string(dead.Key) + " " + string(dead.Value)
	for _, h := range dead.Headers {
		got += " " + h.Key + "=" + string(h.Value)
	}
	want := "orders.dead k v a=b mq-dead-reason=no such price mq-dead-topic=orders mq-dead-partition=3 mq-dead-offset=17" +
		" mq-dead-attempts=4 mq-dead-group=billing mq-dead-time=1970-01-01T00:00:00Z"
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func BenchmarkLane(b *testing.B) {
	w := &world{}
	host := w.host(nil)
	host.Handle = func(context.Context, mq.Batch) error { return nil }
	set := delivery(b, mq.Delivery{BatchDelay: -1})
	l := New("t", 0, set, host)
	all := messages(set.BatchMessages)
	b.ReportAllocs()
	for b.Loop() {
		l.Push(all)
		batch, _ := l.take(b.Context())
		l.deliver(b.Context(), batch)
	}
	b.ReportMetric(float64(b.N*len(all))/b.Elapsed().Seconds(), "messages/s")
}
