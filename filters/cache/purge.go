package cache

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
)

// Purge says what to take out. Exactly one of the four is set.
type Purge struct {
	URL    string // one URL, with all its variants
	Prefix string // all URLs that begin so
	Tag    string // all that their upstream gave the tag
	All    bool
}

// Mistakes in a Purge.
var (
	ErrPurgeOne = errors.New("a purge names one of url, prefix, tag and all")
	ErrPurgeURL = errors.New("a URL to purge is absolute, as clients ask for it: https://shop.example/items/7?page=2")
)

// Check returns what is wrong with p: ErrPurgeOne, ErrPurgeURL, nil.
func (p *Purge) Check() error {
	said := 0
	for _, is := range []bool{p.URL != "", p.Prefix != "", p.Tag != "", p.All} {
		if is {
			said++
		}
	}
	if said != 1 {
		return ErrPurgeOne
	}
	for _, text := range []string{p.URL, p.Prefix} {
		u, err := url.Parse(text)
		if text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return ErrPurgeURL
		}
	}
	return nil
}

// Purged is what came of a purge.
type Purged struct {
	Responses int // that were taken out of this gateway's memory
	// Shared tells of a cache in Redis; Told that Redis, and through it the other gateways, know of the purge. If not, they will as
	// soon as Redis can be reached.
	Shared, Told bool
}

// Purge takes out what p means. p has been checked. It may take some time, and is not for loops.
func (s *Store) Purge(p Purge) Purged {
	kind, value := purgeAll, ""
	switch {
	case p.URL != "":
		kind, value = purgeURL, string(s.normal(p.URL, true))
	case p.Prefix != "":
		kind, value = purgePrefix, string(s.normal(p.Prefix, false))
	case p.Tag != "":
		kind, value = purgeTag, p.Tag
	}
	// First it is noted that nothing of it may come back from Redis.
	t := s.tier.Load()
	var told <-chan struct{}
	if t != nil {
		told = t.share(kind, value)
	}
	done := Purged{Shared: t != nil}
	switch kind {
	case purgeURL:
		done.Responses = s.Invalidate([]byte(value))
	case purgePrefix:
		done.Responses = s.purge([]mark{{prefix: value}})
	case purgeTag:
		done.Responses = s.PurgeTag(value)
	case purgeAll:
		done.Responses = s.PurgeAll()
	}
	s.counts.purged.Add(uint64(done.Responses))
	if t != nil && t.link.Load() != nil {
		enough := time.NewTimer(4 * t.spec.Redis.Timeout)
		defer enough.Stop()
		select {
		case <-told:
			done.Told = true
		case <-enough.C:
		}
	}
	return done
}

// change is Invalidate because of a request, of which other gateways are told too. On any loop.
func (s *Store) change(url []byte) int {
	if t := s.tier.Load(); t != nil {
		t.share(purgeURL, string(url))
	}
	return s.Invalidate(url)
}

// normal brings a URL that a person wrote to the form of keys: scheme and host in lower case, a path, the query as the filter reads
// it. A fragment is none of it.
func (s *Store) normal(text string, whole bool) []byte {
	text, _, _ = strings.Cut(text, "#")
	b := []byte(text)
	end := strings.Index(text, "://")
	if end < 0 { // no key looks like that
		return b
	}
	end += len("://")
	if i := strings.IndexAny(text[end:], "/?"); i >= 0 {
		end += i
	} else {
		end = len(text)
	}
	for i := range end {
		b[i] = message.Lower(b[i])
	}
	if !whole {
		return b
	}
	if end == len(text) || text[end] == '?' {
		b = append(append(b[:end:end], '/'), text[end:]...)
	}
	q := s.query.Load()
	if i := strings.IndexByte(string(b), '?'); i >= 0 && q != nil {
		b = q.appendTo(b[:i:i], b[i+1:])
	}
	return b
}

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
	return s.dropMeant(sh, r, func(*entry) bool { return true })
}

// PurgeURL is Invalidate for people: the URL is brought to the form of keys.
func (s *Store) PurgeURL(url string) int { return s.Invalidate(s.normal(url, true)) }

// PurgePrefix takes out everything whose URL begins so.
func (s *Store) PurgePrefix(prefix string) int {
	return s.purge([]mark{{prefix: string(s.normal(prefix, false))}})
}

// PurgeTag takes out everything that its upstream gave the tag, by Surrogate-Key or Cache-Tag.
func (s *Store) PurgeTag(tag string) int { return s.purge([]mark{{tag: tag}}) }

// PurgeAll takes out everything.
func (s *Store) PurgeAll() int { return s.purge([]mark{{}}) }
