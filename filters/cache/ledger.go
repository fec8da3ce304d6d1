package cache

import (
	"slices"
	"strings"
	"sync"
)

// stamp is a time of Redis' clock, in milliseconds since 1970. It is what the nodes have in common.
type stamp int64

// ledger is what a node knows of purges in Redis: what was asked for before a purge that means it is not believed. A purge in the same
// millisecond counts as the later one.
type ledger struct {
	sync.Mutex
	// floor is before which nothing is believed: the last purge of everything, or the oldest purge that was forgotten.
	floor    stamp
	tags     map[string]stamp
	prefixes map[string]stamp
	// urls are those that this node has purged of late: Redis forgets their responses by itself, but an answer may be on its way
	// that left before.
	urls map[string]stamp
	// pending are purges of this node that Redis has not been told yet.
	pending []*purgeNote
}

// ledgerMax bounds the purges that are remembered, and those in Redis. When there are more the older half is forgotten, and nothing
// from before them is believed any more.
const ledgerMax = 4096

// prefixesMax is ledgerMax for prefixes: each response that comes from Redis is held against all of them.
const prefixesMax = 256

// kinds of purges in Redis.
const (
	purgeAll    = "all"
	purgePrefix = "prefix"
	purgeTag    = "tag"
	purgeURL    = "url"
)

// purgeNote is a purge to be told to Redis. told is closed when it has been.
type purgeNote struct {
	kind, value string
	sent        bool // it is on its way: what is purged now has to be told anew. Under the ledger's lock
	told        chan struct{}
}

// note remembers a purge of that time. Under the lock.
func (l *ledger) note(kind, value string, at stamp) {
	switch kind {
	case purgeAll:
		l.floor = max(l.floor, at)
	case purgeTag:
		l.floor = max(l.floor, noteIn(&l.tags, value, at, ledgerMax))
	case purgePrefix:
		l.floor = max(l.floor, noteIn(&l.prefixes, value, at, prefixesMax))
	case purgeURL:
		noteIn(&l.urls, value, at, ledgerMax)
	}
}

// noteIn remembers one purge, and returns the time of the last that it had to forget for it.
func noteIn(of *map[string]stamp, value string, at stamp, most int) (forgotten stamp) {
	if *of == nil {
		*of = map[string]stamp{}
	}
	(*of)[value] = max((*of)[value], at)
	if len(*of) <= most {
		return 0
	}
	times := make([]stamp, 0, len(*of))
	for _, t := range *of {
		times = append(times, t)
	}
	slices.Sort(times)
	forgotten = times[len(times)/2]
	for v, t := range *of {
		if t <= forgotten {
			delete(*of, v)
		}
	}
	return forgotten
}

// believes tells whether a response that was asked for at a time has not been purged since.
func (l *ledger) believes(url string, tags []string, began stamp) bool {
	l.Lock()
	defer l.Unlock()
	if began <= l.floor || began <= l.urls[url] {
		return false
	}
	for _, t := range tags {
		if began <= l.tags[t] {
			return false
		}
	}
	for p, at := range l.prefixes {
		if began <= at && strings.HasPrefix(url, p) {
			return false
		}
	}
	for _, p := range l.pending {
		if p.means(url, tags) {
			return false
		}
	}
	return true
}

func (p *purgeNote) means(url string, tags []string) bool {
	switch p.kind {
	case purgeURL:
		return p.value == url
	case purgeTag:
		return slices.Contains(tags, p.value)
	case purgePrefix:
		return strings.HasPrefix(url, p.value)
	}
	return true
}

// pendingMax bounds the purges that Redis has not been told yet. With more of them it is told to purge everything.
const pendingMax = 4096

// add puts a purge among those that are to be told, unless one of them means the same.
func (l *ledger) add(kind, value string) *purgeNote {
	l.Lock()
	defer l.Unlock()
	if len(l.pending) >= pendingMax && kind != purgeAll {
		kind, value = purgeAll, ""
	}
	if n := len(l.pending); n > 0 && !l.pending[n-1].sent && l.pending[n-1].kind == kind && l.pending[n-1].value == value {
		return l.pending[n-1] // as in a row of changes to one URL
	}
	p := &purgeNote{kind: kind, value: value, told: make(chan struct{})}
	l.pending = append(l.pending, p)
	return p
}
