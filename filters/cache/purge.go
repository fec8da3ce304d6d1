package cache

import "strings"

// Invalidate takes out everything under a URL as the store writes it (scheme://host/path?query), and has fills that are under way
// for it come to nothing. It returns how many responses that were.
func (s *Store) Invalidate(url []byte) int {
	hash := s.hash(url)
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.stale[hash%generations].Add(1)
	r := s.find(hash, url)
	if r == nil {
		return 0
	}
	return s.dropAll(sh, r)
}

func (s *Store) dropAll(sh *shard, r *resource) int {
	all := *r.variants.Load()
	for _, e := range all {
		s.drop(sh, e)
	}
	return len(all)
}

// PurgeURL is Invalidate for people.
func (s *Store) PurgeURL(url string) int { return s.Invalidate([]byte(url)) }

// PurgePrefix takes out everything whose URL begins so. It looks at each response that is kept, a shard at a time.
func (s *Store) PurgePrefix(prefix string) int {
	return s.purge(func(e *entry) bool { return strings.HasPrefix(e.of.url, prefix) })
}

// PurgeTag takes out everything that its upstream gave the tag, by Surrogate-Key or Cache-Tag. It looks at each response that
// is kept, a shard at a time.
func (s *Store) PurgeTag(tag string) int {
	return s.purge(func(e *entry) bool {
		for _, t := range e.tags {
			if t == tag {
				return true
			}
		}
		return false
	})
}

// PurgeAll takes out everything.
func (s *Store) PurgeAll() int { return s.purge(func(*entry) bool { return true }) }

// purge takes out what is meant. Fills that began before come to nothing: what they bring may be older than the purge.
func (s *Store) purge(meant func(e *entry) bool) int {
	s.whole.Add(1)
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, q := range []*queue{&sh.small, &sh.main} {
			for e := q.first; e != nil; {
				next := e.next
				if meant(e) {
					s.drop(sh, e)
					n++
				}
				e = next
			}
		}
		sh.mu.Unlock()
	}
	return n
}
