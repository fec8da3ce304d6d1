package id

import (
	"math"
	"sync/atomic"
	"time"
)

// Worker is where a generator has its worker number from: Fixed, or a lease of package etcdworker. Term is
// called for every reservation, by any goroutine, and must be cheap: it returns the present term, or an error that says
// why there is none. A Worker that goes over to another term ends the old one first.
type Worker interface {
	Term() (*Term, error)
}

// Term is the right to make ids with one worker number, for times after the moment given to NewTerm and up to a mark
// that its holder moves ahead with Extend. The mark makes duplicates impossible: whoever hands out numbers writes it
// down before Extend, and the next holder of the number begins after it; so it does not matter how late a frozen process
// notices that it lost the number.
//
// One generator uses a term; a second one is refused. All methods may be called by any goroutine.
type Term struct {
	number int
	after  int64 // Unix ms; ids are later
	base   time.Time
	wake   chan struct{}

	until    atomic.Int64 // Unix ms; ids are not later
	deadline atomic.Int64 // ns after base; MaxInt64: none
	seen     atomic.Int64 // Unix ms; the highest time that any id of this term has, or will have in a moment
	ended    atomic.Bool
	owner    atomic.Pointer[Generator]
}

// NewTerm begins a term of a worker number; ids will be of later milliseconds than after. Nothing can be made with it
// before the first Extend.
func NewTerm(number int, after time.Time) *Term {
	ms := ceilMS(after)
	t := &Term{number: number, after: ms, base: time.Now(), wake: make(chan struct{}, 1)}
	t.until.Store(ms)
	t.seen.Store(ms + 1)
	t.deadline.Store(math.MaxInt64)
	return t
}

// Extend lets the term make ids up to the millisecond of until, and only before the deadline, by its monotonic reading
// where it has one; a zero deadline is none. Write until down where the next holder reads it before calling Extend.
// Neither has to grow: a Worker may take back what it has not written down as used.
func (t *Term) Extend(until, deadline time.Time) {
	d := int64(math.MaxInt64)
	if !deadline.IsZero() {
		d = int64(deadline.Sub(t.base))
	}
	t.until.Store(until.UnixMilli())
	t.deadline.Store(d)
}

// End ends the term for good. After it returns no id is given out that Last does not cover.
func (t *Term) End() { t.ended.Store(true) }

// Ended tells whether End was called.
func (t *Term) Ended() bool { return t.ended.Load() }

// Number is the worker number.
func (t *Term) Number() int { return t.number }

// Last is a millisecond that no id of the term is later than. Read after End, it may be written down as the mark.
func (t *Term) Last() time.Time { return time.UnixMilli(t.seen.Load()) }

// Wake has a value when a generator was refused because its clock is past the mark: the holder should extend at once.
func (t *Term) Wake() <-chan struct{} { return t.wake }

func (t *Term) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// covers tells whether an id of the millisecond ms may be made at the time now.
func (t *Term) covers(ms int64, now time.Time) bool {
	return ms <= t.until.Load() && int64(now.Sub(t.base)) < t.deadline.Load()
}

// observe raises seen to ms. A generator does so before it takes a number of the sequence, so that seen covers every id.
func (t *Term) observe(ms int64) {
	for {
		seen := t.seen.Load()
		if ms <= seen || t.seen.CompareAndSwap(seen, ms) {
			return
		}
	}
}

func ceilMS(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// Fixed is a worker number that somebody else looks after, a StatefulSet's ordinal for example: no two processes may
// have it at a time. Nothing is written down, so that a clock which is set back over a restart can repeat ids; package
// etcdworker closes that gap. The result serves one generator.
func Fixed(number int) Worker {
	t := NewTerm(number, time.Time{})
	t.Extend(time.UnixMilli(math.MaxInt64), time.Time{})
	return fixed{t}
}

type fixed struct{ t *Term }

func (f fixed) Term() (*Term, error) { return f.t, nil }
