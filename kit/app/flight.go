package app

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// shards of a flight: more than there are processors in most machines, so that two requests seldom want the same one.
const shards = 32

// namedMax is how many of the requests that were cut off an error names.
const namedMax = 32

// flight is the requests that are being answered, so that a drain can wait for them and say which it did not wait for. It allocates only
// when there are more requests at a time than ever before.
type flight struct {
	shards [shards]struct {
		sync.Mutex
		slots []seat
		free  []uint32
		_     [64]byte // two shards do not share a line of the processor's cache
	}
}

// seat is a request: what it is called in two parts, so that nothing need be joined for it, and since when.
type seat struct {
	verb, path string
	began      mono.Time
	taken      bool
}

// ticket is where a request sits.
type ticket struct{ shard, slot uint32 }

// begin takes a request in.
func (f *flight) begin(verb, path string) ticket {
	n := rand.Uint32() % shards
	s := &f.shards[n]
	began := mono.Now()
	s.Lock()
	defer s.Unlock()
	if len(s.free) == 0 {
		s.slots = append(s.slots, seat{})
		s.free = append(s.free, uint32(len(s.slots)-1))
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.slots[i] = seat{verb, path, began, true}
	return ticket{n, i}
}

// done lets it go.
func (f *flight) done(t ticket) {
	s := &f.shards[t.shard]
	s.Lock()
	defer s.Unlock()
	s.slots[t.slot] = seat{}
	s.free = append(s.free, t.slot)
}

// count is how many there are.
func (f *flight) count() (n int) {
	for i := range f.shards {
		s := &f.shards[i]
		s.Lock()
		n += len(s.slots) - len(s.free)
		s.Unlock()
	}
	return n
}

// names are up to namedMax of them, and how many there are beside.
func (f *flight) names() (names []string, more int) {
	now := mono.Now()
	for i := range f.shards {
		s := &f.shards[i]
		s.Lock()
		for _, at := range s.slots {
			switch {
			case !at.taken:
			case len(names) == namedMax:
				more++
			default:
				names = append(names, fmt.Sprintf("%.200s for %v", strings.TrimSpace(at.verb+" "+at.path), now.Sub(at.began).Round(time.Millisecond)))
			}
		}
		s.Unlock()
	}
	return names, more
}
