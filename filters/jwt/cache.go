package jwt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync/atomic"
)

const (
	// ways is how many places a token has in the cache. With four, what is used last is rarely pushed out while there is
	// room elsewhere.
	ways = 4
	// setsFirst is how many sets a cache begins with. It doubles when it has to push out somebody who still comes.
	setsFirst = 16
	// badMax bounds the tokens that are known to be bad, which have room of their own: a flood of them pushes nobody out
	// who is known to be good.
	badMax = 256
	// badSeconds is how long a bad token is known: long enough for a client that tries again at once.
	badSeconds = 5
	// goodSecondsMax bounds how long a token without an early expiry is known before it is verified again.
	goodSecondsMax = 3600
)

// tag stands for a token: 128 bits of GHASH under a key that each loop draws for itself and nobody else ever sees. Two tokens
// of n bytes, whoever chose them, have one tag with a probability below n/2^131; there is nothing to search for without the
// key, and no answer tells of a tag.
type tag [16]byte

// cache is what a loop knows of tokens. Loop-owned.
type cache struct {
	mac  cipher.AEAD
	good table[*person]
	bad  table[*refusal]
	desk desk

	// Of shadow mode, which does not make a request wait: verifications in a second.
	second int64
	spent  int
	// busy is how many verifications are under way elsewhere. Whoever ends one counts it down there.
	busy atomic.Int32
}

// entry is one token that was seen before.
type entry[T comparable] struct {
	tag   tag
	set   *KeySet // under which it was last found to be so
	until int64   // Unix seconds
	used  uint32  // when, by the table's count of uses
	what  T
}

// table holds entries in sets of a few ways. The zero value is empty; max must be set.
type table[T comparable] struct {
	sets [][ways]entry[T]
	uses uint32
	max  int // entries
}

// newCache draws the key of a loop's tags. entries is how many good tokens are known at most.
func newCache(entries int) *cache {
	var key [16]byte
	rand.Read(key[:]) // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	mac, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &cache{mac: mac, good: table[*person]{max: entries}, bad: table[*refusal]{max: badMax}}
}

// zeroNonce: nothing is encrypted, and tags are compared in here only, so that one nonce is as good as another.
var zeroNonce [12]byte

// tag computes the tag of a token.
func (c *cache) tag(token []byte) (t tag) {
	c.desk.decoded = c.mac.Seal(c.desk.decoded[:0], zeroNonce[:], nil, token)
	copy(t[:], c.desk.decoded)
	return t
}

// lookup returns what is known of a token under a set of keys: an identity, a refusal, or neither.
func (c *cache) lookup(t *tag, s *KeySet, now int64) (*person, *refusal) {
	if e := c.good.find(t); e != nil {
		i := e.what
		switch {
		case now >= e.until, now < i.from:
		case e.set == s:
			return i, nil
		case s.has(i.key): // others came and went
			e.set = s
			return i, nil
		}
		c.good.forget(e)
		return nil, nil
	}
	if e := c.bad.find(t); e != nil {
		if now < e.until && e.set == s {
			return nil, e.what
		}
		c.bad.forget(e)
	}
	return nil, nil
}

// know notes a good token.
func (c *cache) know(t *tag, s *KeySet, i *person, now int64) {
	if c.good.max > 0 {
		c.good.put(entry[*person]{tag: *t, set: s, until: min(i.until, now+goodSecondsMax), what: i}, now)
	}
}

// knowBad notes a bad token.
func (c *cache) knowBad(t *tag, s *KeySet, r *refusal, now int64) {
	c.bad.put(entry[*refusal]{tag: *t, set: s, until: now + badSeconds, what: r}, now)
}

func (t *table[T]) set(tag *tag) *[ways]entry[T] {
	// The number of sets is a power of two, and every bit of a tag is as good as another.
	n := uint(tag[0]) | uint(tag[1])<<8 | uint(tag[2])<<16
	return &t.sets[n&uint(len(t.sets)-1)]
}

func (t *table[T]) find(tag *tag) *entry[T] {
	if len(t.sets) == 0 {
		return nil
	}
	set := t.set(tag)
	var none T
	for i := range set {
		if e := &set[i]; e.what != none && e.tag == *tag {
			t.uses++
			e.used = t.uses
			return e
		}
	}
	return nil
}

func (t *table[T]) forget(e *entry[T]) { *e = entry[T]{} }

// put notes e in the place of one that is over, or was used least recently.
func (t *table[T]) put(e entry[T], now int64) {
	if len(t.sets) == 0 {
		t.sets = make([][ways]entry[T], setsFirst)
	}
	t.uses++
	e.used = t.uses
	at := t.place(&e.tag, now)
	var none T
	if at.what != none && at.until > now && at.tag != e.tag && 2*len(t.sets)*ways <= t.max {
		t.grow(now)
		at = t.place(&e.tag, now)
	}
	*at = e
}

// place returns where a tag goes: where it is, where nothing is, or in the place of who matters least.
func (t *table[T]) place(tag *tag, now int64) *entry[T] {
	set := t.set(tag)
	var none T
	at, free := &set[0], false
	for i := range set {
		e := &set[i]
		if e.tag == *tag {
			return e
		}
		over := e.what == none || e.until <= now
		if over && !free || !over && !free && t.uses-e.used > t.uses-at.used {
			at, free = e, over
		}
	}
	return at
}

// grow doubles the sets. It runs a dozen times in the life of a cache, the last time for as many entries as it will hold.
func (t *table[T]) grow(now int64) {
	old := t.sets
	t.sets = make([][ways]entry[T], 2*len(old))
	var none T
	for i := range old {
		for _, e := range old[i] {
			if e.what != none && e.until > now {
				*t.place(&e.tag, now) = e
			}
		}
	}
}
