package cache

import (
	"slices"
	"strings"
	"sync"
)

// A purge of more than a URL is in force as soon as it is said: until everything that it means has been found, whoever finds something
// holds it against the purges that are under way. Finding is done by who purges, in small steps, so that no loop waits for it.
//
// The simple way lost: walking through a shard under its lock let a loop that wanted to keep something there wait for as long as a
// thirty-second part of all responses takes, 1 ms in one case of a hundred with a hundred thousand of them; now that is 0.1 ms. Numbers for each tag, checked
// by every lookup, lost too: a response may have 64 tags, and would be held against all of them all the time.

const (
	// marksMax is how many purges may be under way, since each lookup is held against them. Another waits for one of them to end.
	marksMax = 64
	// sweepChains is how many chains are looked at under one hold of a lock: one response each on average, some microseconds.
	sweepChains = 64
)

// mark is a purge: of a tag, or of a prefix, or, without either, of everything. It means what was asked for before it was said.
type mark struct {
	prefix, tag string
	since       uint64 // of Store.whole: entries with a smaller number are older
}

// means tells whether the mark is about an entry.
func (m *mark) means(url string, e *entry) bool {
	switch {
	case e.since >= m.since:
		return false
	case m.tag != "":
		return slices.Contains(e.tags, m.tag)
	}
	return strings.HasPrefix(url, m.prefix)
}

// marks are the purges under way.
type marks struct {
	sync.Mutex
	room *sync.Cond
}

// purged tells whether an entry is meant by a purge that has not found it yet. On any loop: without purges it is one load.
func (s *Store) purged(url string, e *entry) bool {
	list := s.marked.Load()
	if list == nil {
		return false
	}
	for _, m := range *list {
		if m.means(url, e) {
			return true
		}
	}
	return false
}

// purge takes out what the marks mean, and returns how many responses that were. Fills that began before come to nothing: what they
// bring may be older than the purge. More than marksMax at once take out everything.
func (s *Store) purge(list []mark) int {
	if len(list) > marksMax {
		list = []mark{{}}
	}
	m := &s.marks
	m.Lock()
	var before []*mark
	for {
		before = nil
		if at := s.marked.Load(); at != nil {
			before = *at
		}
		if len(before)+len(list) <= marksMax {
			break
		}
		m.room.Wait()
	}
	since := s.whole.Add(1)
	after := slices.Clone(before)
	for i := range list {
		list[i].since = since
		after = append(after, &list[i])
	}
	s.marked.Store(&after)
	m.Unlock()

	n := s.sweep(list)

	m.Lock()
	rest := slices.DeleteFunc(slices.Clone(*s.marked.Load()), func(o *mark) bool {
		for i := range list {
			if o == &list[i] {
				return true
			}
		}
		return false
	})
	if len(rest) > 0 {
		s.marked.Store(&rest)
	} else {
		s.marked.Store(nil)
	}
	m.room.Broadcast()
	m.Unlock()
	return n
}

// sweep goes through all shards, a step in each in turn: whoever waits for a lock gets it before the next step there.
func (s *Store) sweep(list []mark) (n int) {
	var at [shards]struct{ next, size int }
	for left := shards; left > 0; {
		for i := range s.shards {
			if c := &at[i]; c.next >= 0 {
				n += s.sweepStep(&s.shards[i], &c.next, &c.size, list)
				if c.next < 0 {
					left--
				}
			}
		}
	}
	return n
}

// sweepStep looks at the next chains of a shard; next is negative when there are no more.
func (s *Store) sweepStep(sh *shard, next, size *int, list []mark) (n int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.table.Load()
	if len(t.heads) != *size { // it has grown, and chains lie elsewhere
		*next, *size = 0, len(t.heads)
	}
	for end := min(*next+sweepChains, *size); *next < end; *next++ {
		for l := t.heads[*next].Load(); l != nil; l = l.next.Load() { // a link that is taken out still leads on
			n += s.dropMeant(sh, l.of, func(e *entry) bool {
				for i := range list {
					if list[i].means(l.of.url, e) {
						return true
					}
				}
				return false
			})
		}
	}
	if *next == *size {
		*next = -1
	}
	return n
}

// dropMeant takes those entries of a resource out of the store that are meant, and returns how many. Under the shard's lock.
func (s *Store) dropMeant(sh *shard, r *resource, meant func(e *entry) bool) (n int) {
	before := *r.variants.Load()
	var after []*entry
	for i, e := range before {
		if !meant(e) {
			if n > 0 {
				after = append(after, e)
			}
			continue
		}
		if n == 0 {
			after = append(make([]*entry, 0, len(before)-1), before[:i]...)
		}
		s.forget(sh, e)
		n++
	}
	if n == 0 {
		return 0
	}
	r.variants.Store(&after)
	if len(after) == 0 {
		sh.remove(r)
	}
	return n
}
