package cache

import (
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// flight is a request to the upstream that others wait for. Under its shard's lock.
type flight struct {
	hash    uint64
	key     string
	waiters []waiter
}

// waiter is one who waits, on any loop.
type waiter struct {
	wake   gateway.Wake
	until  mono.Time
	resume *resumes
}

// landing is how a flight ended, for those who wait.
type landing uint8

const (
	// arrived: the response is kept, look again.
	arrived landing = iota
	// lost: the response is not kept, or did not come. Each asks for himself, none waits again.
	lost
	// late: it takes too long. Each looks whether something stale will do, and else asks for himself.
	late
	// abandoned: the leader's client left. The first who looks leads anew.
	abandoned
	landings
)

// resumes is what each landing means for a follower, made once a filter.
type resumes [landings]func(x *gateway.Exchange) gateway.Verdict

// join makes the caller the leader of a new flight under the key, or calls wait for a place among the followers of the one there
// is, or does neither if enough wait.
func (s *Store) join(hash uint64, key []byte, most int, wait func() waiter) (lead *flight, waits bool) {
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	fl := sh.flights[string(key)]
	if fl == nil {
		return sh.begin(hash, key), false
	}
	if len(fl.waiters) >= most {
		return nil, false
	}
	fl.waiters = append(fl.waiters, wait())
	return nil, true
}

// lead makes the caller the leader of a new flight, unless there is one.
func (s *Store) lead(hash uint64, key []byte) *flight {
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.flights[string(key)] != nil {
		return nil
	}
	return sh.begin(hash, key)
}

func (sh *shard) begin(hash uint64, key []byte) *flight {
	fl := &flight{hash: hash, key: string(key)}
	sh.flights[fl.key] = fl
	sh.flying.Store(int64(len(sh.flights)))
	return fl
}

// land ends a flight. Its followers go on, each on its loop.
func (s *Store) land(fl *flight, how landing) {
	sh := s.shard(fl.hash)
	sh.mu.Lock()
	delete(sh.flights, fl.key)
	sh.flying.Store(int64(len(sh.flights)))
	waiters := fl.waiters
	fl.waiters = nil
	sh.mu.Unlock()
	for i := range waiters {
		waiters[i].wake.Post(waiters[i].resume[how])
	}
}

// Tick lets those go who have waited long enough. It is for gateway.Ticking.
func (s *Store) Tick(now mono.Time, _ time.Time) {
	for i := range s.shards {
		sh := &s.shards[i]
		if sh.flying.Load() == 0 {
			continue
		}
		var impatient []waiter
		sh.mu.Lock()
		for _, fl := range sh.flights {
			rest := fl.waiters[:0]
			for _, w := range fl.waiters {
				if w.until <= now {
					impatient = append(impatient, w)
				} else {
					rest = append(rest, w)
				}
			}
			clear(fl.waiters[len(rest):])
			fl.waiters = rest
		}
		sh.mu.Unlock()
		for i := range impatient {
			impatient[i].wake.Post(impatient[i].resume[late])
		}
	}
}
