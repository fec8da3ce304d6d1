package log

import (
	"encoding/binary"
	"math"
	"sync/atomic"
)

// Ring carries one loop's records to the writer: one producer, one consumer, no lock, memory fixed when it was made.
//
//	      tail            head
//	        v               v
//	| free  |record|record| | free          |    positions only grow; the place is position mod size
//
// A record is never torn over the end of the memory: one that does not fit there is preceded by a mark that sends the
// reader to the start. A record that does not fit into what is free is dropped and counted; the loop does not wait.
// The ring of records beside a ring of bytes would need no such mark, but would make every record as big as the
// biggest, some 8 kB.
type Ring struct {
	// Frozen.
	buf    []byte
	limits [texts]uint16 // textMax, and 0 for texts that no selected field shows
	wake   chan struct{} // the writer's; shared by all rings

	_ [cacheLine]byte

	// Loop's. Others load head, dropped and skipped.
	head     atomic.Uint64 // everything before it is the reader's
	tailSeen uint64        // a tail of some time ago; reading the real one costs a cache miss
	sample   sampler
	called   bool // the writer was woken since the ring last was less than half full
	dropped  atomic.Uint64
	skipped  atomic.Uint64

	_ [cacheLine]byte

	// Writer's. The loop loads tail.
	tail atomic.Uint64 // everything before it is free
	read uint64        // position of the next record; between tail and head

	_ [cacheLine]byte
}

// cacheLine keeps what the loop writes and what the writer writes apart, in bytes.
const cacheLine = 64

// wrapMark, in place of a record's size, says that the next record is at the start of the memory.
const wrapMark = math.MaxUint32

// newRing returns a ring of size bytes, a power of two.
func newRing(size int, limits [texts]uint16, sample sampler, wake chan struct{}) *Ring {
	return &Ring{buf: make([]byte, size), limits: limits, sample: sample, wake: wake}
}

// Add copies the record into the ring, or drops it when the ring is full, or skips it by sampling. Called by the ring's
// loop only. It takes some 80 ns and allocates nothing.
func (r *Ring) Add(rec *Record) {
	if !r.sample.keep(rec.Status) {
		r.skipped.Add(1)
		return
	}
	var s shape
	s.measure(rec, &r.limits)
	size := uint64(s.size())

	capacity := uint64(len(r.buf))
	head := r.head.Load()
	at := head & (capacity - 1)
	skip := uint64(0)
	if at+size > capacity {
		skip = capacity - at // sizes are multiples of 8, so a mark always fits
	}
	if head+skip+size-r.tailSeen > capacity {
		r.tailSeen = r.tail.Load()
		if head+skip+size-r.tailSeen > capacity {
			r.dropped.Add(1)
			return
		}
	}
	if skip > 0 {
		binary.LittleEndian.PutUint32(r.buf[at:], wrapMark)
		at = 0
	}
	s.encode(r.buf[at:at+size:at+size], rec)
	r.head.Store(head + skip + size)
	r.callWriter(head + skip + size)
}

// callWriter wakes the writer when the ring passes half, once until it falls below half again: a wake may cost a system
// call, and this way it is one for some thousand records. The channel has one slot and the send does not wait; a full
// slot means that the writer is called already.
func (r *Ring) callWriter(head uint64) {
	half := uint64(len(r.buf)) / 2
	if head-r.tailSeen <= half {
		r.called = false
		return
	}
	r.tailSeen = r.tail.Load()
	if head-r.tailSeen <= half {
		r.called = false
		return
	}
	if !r.called {
		r.called = true
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// next returns the next record before the position end, a value of head, or nil when there is none. The record is
// valid until release. Writer's.
func (r *Ring) next(end uint64) entry {
	for r.read != end {
		at := r.read & uint64(len(r.buf)-1)
		size := binary.LittleEndian.Uint32(r.buf[at:])
		if size == wrapMark {
			r.read += uint64(len(r.buf)) - at
			continue
		}
		r.read += uint64(size)
		return r.buf[at : at+uint64(size)]
	}
	return nil
}

// release gives back the memory of all records that next returned. Writer's.
func (r *Ring) release() { r.tail.Store(r.read) }

// held returns the bytes that next returned and release has not given back. Writer's.
func (r *Ring) held() uint64 { return r.read - r.tail.Load() }

// waiting returns the bytes of records that are not yet given back.
func (r *Ring) waiting() uint64 {
	tail := r.tail.Load() // before head, or the difference could be negative
	return r.head.Load() - tail
}
