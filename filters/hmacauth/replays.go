package hmacauth

import (
	"sync/atomic"
	"time"
)

// replays remembers which signatures were used, for all loops, without a lock. A signature is kept as the first 64 bits of its MAC, which
// nobody without the secret can choose, in one of two tables. The younger one takes in what is new; each period it becomes
// the older one, and an empty one its successor. So what was used is known for a period at least, which is as long as a
// signature can be good.
//
//	period 1: [ young: a b ] [ old:     ]
//	period 2: [ young: c   ] [ old: a b ]
//	period 3: [ young:     ] [ old: c   ]      a and b have expired by their dates
//
// Two signatures that begin alike by chance refuse one good request: with a million remembered, one in some 10^13.
type replays struct {
	pair atomic.Pointer[pair]
	most int // in a period
}

type pair struct {
	young, old *table
	since      time.Time
}

// table is open addressing over words; zero is empty. It has two places for each word that it may take.
type table struct {
	words []atomic.Uint64
	used  atomic.Int64
}

func newTable(most int) *table {
	size := 1
	for size < 2*most {
		size *= 2
	}
	return &table{words: make([]atomic.Uint64, size)}
}

func newReplays(most int) *replays {
	r := &replays{most: most}
	r.pair.Store(&pair{young: newTable(most), old: &table{words: make([]atomic.Uint64, 1)}})
	return r
}

// turn makes the younger table the older one if a period is over. One goroutine calls it.
func (r *replays) turn(now time.Time, period time.Duration) {
	p := r.pair.Load()
	if p.since.IsZero() {
		r.pair.Store(&pair{p.young, p.old, now})
		return
	}
	// A clock that was set back starts the period anew; nothing is forgotten for it.
	if past := now.Sub(p.since); past >= period {
		r.pair.Store(&pair{newTable(r.most), p.young, now})
	} else if past < 0 {
		r.pair.Store(&pair{p.young, p.old, now})
	}
}

// use is what became of an attempt to use a signature.
type use uint8

const (
	fresh use = iota
	replayed
	full
)

// take uses a signature. From any goroutine; of any number of calls with one word, within a period, at most one returns fresh. It
// writes into the younger table first and looks into the older one then, so that of two of whom one came before a turn and the
// other after it, one sees the other. Whoever was overtaken by a turn writes into the new table too.
func (r *replays) take(word uint64) use {
	if word == 0 {
		word = 1
	}
	p := r.pair.Load()
	if u := p.young.insert(word, r.most); u != fresh {
		return u
	}
	if p.old.has(word) {
		return replayed
	}
	if now := r.pair.Load(); now.young != p.young {
		return now.young.insert(word, r.most)
	}
	return fresh
}

func (t *table) insert(word uint64, most int) use {
	mask := uint64(len(t.words) - 1)
	for i := word & mask; ; {
		switch t.words[i].Load() {
		case word:
			return replayed
		case 0:
			if t.used.Load() >= int64(most) {
				return full
			}
			if t.words[i].CompareAndSwap(0, word) {
				t.used.Add(1)
				return fresh
			}
			// Somebody was faster: look at what it is.
		default:
			i = (i + 1) & mask // the table is hardly more than half full, so this ends
		}
	}
}

func (t *table) has(word uint64) bool {
	mask := uint64(len(t.words) - 1)
	for i := word & mask; ; i = (i + 1) & mask {
		switch t.words[i].Load() {
		case word:
			return true
		case 0:
			return false
		}
	}
}
