package loop

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"golang.org/x/sys/unix"
)

func TestPostedFunctionsRunInEachPostersOrder(t *testing.T) {
	const posters, posts = 8, 5_000
	l := startLoop(t)
	next := make([]int, posters)
	var all sync.WaitGroup
	for p := range posters {
		all.Go(func() {
			for i := range posts {
				l.Post(func() {
					if next[p] != i {
						t.Errorf("poster %d: function %d ran where %d was due", p, i, next[p])
					}
					next[p]++
				})
			}
		})
	}
	all.Wait()
	on(t, l, func() {
		for p, n := range next {
			if n != posts {
				t.Errorf("poster %d: %d of %d functions ran", p, n, posts)
			}
		}
	})
}

func TestBurstOfPostsCostsAtMostOneWake(t *testing.T) {
	l := stepLoop(t)
	for range 1000 {
		l.Post(func() {})
	}
	if wakes := l.Stats().Wakes.Load(); wakes != 0 {
		t.Errorf("%d wakes of a loop that is awake, want 0", wakes)
	}
	l.asleep.Store(true)
	for range 1000 {
		l.Post(func() {})
	}
	if wakes := l.Stats().Wakes.Load(); wakes != 1 {
		t.Errorf("%d wakes of a loop that sleeps, want 1", wakes)
	}
	l.turn()
}

func TestSleepingLoopIsWoken(t *testing.T) {
	l := startLoop(t)
	for range 200 {
		for !l.asleep.Load() { // until it is going to sleep, or does
			on(t, l, func() {})
		}
		on(t, l, func() {})
	}
}

func TestFunctionPostedByAPostedOneRunsInTheNextTurn(t *testing.T) {
	l := stepLoop(t)
	turn := uint64(0)
	l.Post(func() { l.Post(func() { turn = l.Stats().Turns.Load() }) })
	l.turn()
	l.turn()
	if turn != 1 {
		t.Errorf("ran in turn %d, want 1 (the second)", turn)
	}
}

// flushFunc is a Flusher in one function.
type flushFunc func()

func (f flushFunc) Flush() { f() }

func TestStepsOfATurnComeInOrder(t *testing.T) {
	l := stepLoop(t)
	var said []string
	say := func(what string) { said = append(said, what) }

	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	if err := l.Adopt(&s, ours, handlerFunc(func(Events) {
		say("read")
		l.FlushLater(flushFunc(func() { say("flush") }))
	})); err != nil {
		t.Fatal(err)
	}
	idle, theirs2 := pair(t)
	defer unix.Close(theirs2)
	var s2 Socket
	if err := l.Adopt(&s2, idle, handlerFunc(func(ev Events) {
		if ev&Hangup != 0 {
			say("run")
		}
	})); err != nil {
		t.Fatal(err)
	}
	l.step()
	said = nil

	var tm Timer
	tm.Init(expireFunc(func() { say("timer") }))
	l.wheel = makeWheel(0) // as if the loop had begun long ago: the deadline passed
	l.Arm(&tm, 1)
	l.ReadyLater(&s2, Hangup)
	l.Post(func() { say("mailbox") })
	l.FlushLater(flushFunc(func() {
		say("flush of before")
		l.FlushLater(flushFunc(func() { say("flush of the next turn") }))
	}))
	unix.Write(theirs, []byte("x"))
	l.turn()
	want := "[read run timer mailbox flush of before flush]"
	if got := fmt.Sprint(said); got != want {
		t.Errorf("steps\n got %s\nwant %s", got, want)
	}
	said = nil
	l.turn() // does not sleep
	if got, want := fmt.Sprint(said), "[flush of the next turn]"; got != want {
		t.Errorf("the next turn\n got %s\nwant %s", got, want)
	}
}

type expireFunc func()

func (f expireFunc) Expire(*Timer) { f() }

func TestTimerIsNeverEarly(t *testing.T) {
	l := startLoop(t)
	fired := make(chan mono.Time, 1)
	var tm Timer
	var deadline mono.Time
	tm.Init(expireFunc(func() { fired <- l.Now() }))
	on(t, l, func() {
		deadline = l.Now().Add(30 * time.Millisecond)
		l.Arm(&tm, l.Now().Add(5*time.Millisecond))
		l.Arm(&tm, deadline)
	})
	if at := await(t, fired, "the timer"); at < deadline {
		t.Errorf("fired %v before its deadline", deadline.Sub(at))
	}
}

func TestStopRunsWhatWasPostedAndRefusesTheRest(t *testing.T) {
	l := newLoop(t)
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	if err := l.Adopt(&s, ours, handlerFunc(func(Events) {})); err != nil {
		t.Fatal(err)
	}
	go l.Run()

	var ran, taken, flushed atomic.Int64
	var posters sync.WaitGroup
	for range 4 {
		posters.Go(func() {
			for l.Post(func() {
				ran.Add(1)
				l.FlushLater(flushFunc(func() { flushed.Add(1) }))
			}) {
				if taken.Add(1) == 1000 {
					l.Stop()
				}
			}
		})
	}
	posters.Wait()
	await(t, l.Done(), "the loop to end")
	if ran.Load() != taken.Load() || flushed.Load() != taken.Load() {
		t.Errorf("%d functions ran and %d flushed of the %d taken", ran.Load(), flushed.Load(), taken.Load())
	}
	if s.Open() || l.Stats().Sockets.Load() != 0 {
		t.Error("a socket outlived its loop")
	}
	if n, err := unix.Read(theirs, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the peer reads %d, %v, want the end of the stream", n, err)
	}
	l.Stop() // again, and after the end
}

func TestLoopStoppedBeforeItRanEnds(t *testing.T) {
	l := newLoop(t)
	ran := false
	l.Post(func() { ran = true })
	l.Stop()
	l.Run()
	await(t, l.Done(), "the loop to end")
	if !ran {
		t.Error("what was posted before did not run")
	}
}

func TestTurnIsReported(t *testing.T) {
	type turn struct {
		began, ended mono.Time
		events       int
	}
	var turns []turn
	l, err := New(Config{ID: 7, OnTurn: func(b, e mono.Time, n int) { turns = append(turns, turn{b, e, n}) }})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	if err := l.Adopt(&s, ours, handlerFunc(func(Events) {})); err != nil {
		t.Fatal(err)
	}
	l.step()
	l.step()
	if len(turns) != 2 || turns[0].events != 1 || turns[1].events != 0 || turns[0].ended < turns[0].began ||
		turns[1].began < turns[0].ended || l.ID() != 7 {
		t.Errorf("reported %+v", turns)
	}
	l.Stop()
	l.Run()
}
