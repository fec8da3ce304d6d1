package jwt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"hash/maphash"
	"sync/atomic"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
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

// A token has two marks. Both are drawn with keys that each loop makes for itself and nobody else ever sees.
//
//   - key says where in a table it is: a hash of its end, keyBytes long, which is its signature and, of a short one, some of
//     what is signed. A good token is then compared with the copy that is kept of it, all of it, so the hash does not have to
//     be more than quick. Nobody learns a token from how long that comparison takes: to get as far he must know the end already.
//     And nobody pushes others out by tokens that have one place: what gets into the table of good ones is signed by the issuer,
//     and where a signature leads is told by a seed that is secret.
//   - tag stands for a bad token, of which no copy is kept: 128 bits of GHASH over all of it. Two tokens of n bytes, whoever
//     chose them, have one tag with a probability below n/2^131; there is nothing to search for without the key, and no answer
//     tells of a tag. It takes several times as long as key and comparison.
type (
	key uint64
	tag [16]byte
)

// keyBytes has room for the signature of HS384, and so for 256 bits of each algorithm's.
const keyBytes = 64

// shareBytes is how many bytes of a set's tokens are kept for each of its ways; setBytes is for all of them, or one token of the
// longest that are taken if that is more. Most tokens have less than 2 KiB, and four of a set hardly ever push one another out for
// it. So 4096 known tokens are 8 MiB on each loop at most.
const shareBytes = 2 << 10

func setBytes(tokenBytesMax int) int { return max(ways*shareBytes, tokenBytesMax) }

// cache is what a loop knows of tokens. Loop-owned.
type cache struct {
	seed maphash.Seed
	mac  cipher.AEAD
	sum  []byte // its room
	good table[*person]
	bad  table[badToken]
	desk desk

	// The time of day, as of this turn.
	turn mono.Time
	wall int64

	// Of shadow mode, which does not make a request wait: verifications in a second.
	second int64
	spent  int
	// busy is how many verifications are under way elsewhere. Whoever ends one counts it down there.
	busy atomic.Int32
}

// badToken is what is wrong with a token.
type badToken struct {
	tag     tag
	refused *refusal
}

// entry is one token that was seen before.
type entry[T comparable] struct {
	key   key
	set   *KeySet // under which it was last found to be so
	until int64   // Unix seconds
	used  uint32  // when, by the table's count of uses
	size  uint32  // bytes that are kept of it
	what  T
}

// table holds entries in sets of a few ways. The zero value is empty; max must be set, and bytes if entries have any.
type table[T comparable] struct {
	sets  [][ways]entry[T]
	uses  uint32
	max   int // entries
	bytes int // of a set
}

// init draws a loop's keys. entries is how many good tokens are known at most, tokenBytesMax how long they are.
func (c *cache) init(entries, tokenBytesMax int) {
	var secret [16]byte
	rand.Read(secret[:]) // never fails
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err)
	}
	mac, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	c.seed, c.mac = maphash.MakeSeed(), mac
	c.good.max, c.good.bytes = entries, setBytes(tokenBytesMax)
	c.bad.max = badMax
}

// key computes the key of a token.
func (c *cache) key(token []byte) key {
	return key(maphash.Bytes(c.seed, token[max(len(token)-keyBytes, 0):]))
}

// zeroNonce: nothing is encrypted, and tags are compared in here only, so that one nonce is as good as another.
var zeroNonce [12]byte

// tag computes the tag of a token.
func (c *cache) tag(token []byte) (t tag) {
	c.sum = c.mac.Seal(c.sum[:0], zeroNonce[:], nil, token)
	copy(t[:], c.sum)
	return t
}

// now returns the time of day in Unix seconds. The clock is read once a turn of the loop: that takes longer than finding a token.
func (c *cache) now(x *gateway.Exchange) int64 {
	if turn := x.Now(); turn != c.turn {
		c.turn, c.wall = turn, x.Wall().Unix()
	}
	return c.wall
}

// lookup returns what is known of a token under a set of keys: an identity, a refusal, or neither.
func (c *cache) lookup(token []byte, s *KeySet, now int64) (*person, *refusal) {
	k := c.key(token)
	if e := c.good.find(k); e != nil && bytes.Equal(e.what.token, token) {
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
	if e := c.bad.find(k); e != nil && e.what.tag == c.tag(token) {
		if now < e.until && e.set == s {
			return nil, e.what.refused
		}
		c.bad.forget(e)
	}
	return nil, nil
}

// know notes a good token, and that i is the person of a token that is kept.
func (c *cache) know(token []byte, s *KeySet, i *person, now int64) {
	if c.good.max == 0 || len(token) > c.good.bytes {
		return
	}
	i.token = bytes.Clone(token)
	c.good.put(entry[*person]{key: c.key(token), set: s, until: min(i.until, now+goodSecondsMax), size: uint32(len(token)), what: i}, now)
}

// knowBad notes a bad token.
func (c *cache) knowBad(token []byte, s *KeySet, r *refusal, now int64) {
	c.bad.put(entry[badToken]{key: c.key(token), set: s, until: now + badSeconds, what: badToken{c.tag(token), r}}, now)
}

// set returns the set of a key. Their number is a power of two, and every bit of a key is as good as another.
func (t *table[T]) set(k key) *[ways]entry[T] { return &t.sets[uint64(k)&uint64(len(t.sets)-1)] }

func (t *table[T]) find(k key) *entry[T] {
	if len(t.sets) == 0 {
		return nil
	}
	set := t.set(k)
	var none T
	for i := range set {
		if e := &set[i]; e.key == k && e.what != none {
			t.uses++
			e.used = t.uses
			return e
		}
	}
	return nil
}

func (t *table[T]) forget(e *entry[T]) { *e = entry[T]{} }

// put notes e in the place of one that is over, or was used least recently, and of others if their bytes are too many with its.
func (t *table[T]) put(e entry[T], now int64) {
	if len(t.sets) == 0 {
		t.sets = make([][ways]entry[T], setsFirst)
	}
	t.uses++
	e.used = t.uses
	set := t.set(e.key)
	at := t.place(set, e.key, now)
	if 2*len(t.sets)*ways <= t.max && t.pushes(set, at, &e, now) {
		t.grow(now)
		set = t.set(e.key)
		at = t.place(set, e.key, now)
	}
	t.forget(at)
	t.makeRoom(set, int(e.size), now)
	*at = e
}

// place returns where a key goes: where it is, where nothing is, or in the place of who matters least.
func (t *table[T]) place(set *[ways]entry[T], k key, now int64) *entry[T] {
	var none T
	at, free := &set[0], false
	for i := range set {
		e := &set[i]
		if e.key == k && e.what != none {
			return e
		}
		over := e.what == none || e.until <= now
		if over && !free || !over && !free && t.uses-e.used > t.uses-at.used {
			at, free = e, over
		}
	}
	return at
}

// pushes tells whether e at its place pushes anybody out who still comes.
func (t *table[T]) pushes(set *[ways]entry[T], at, e *entry[T], now int64) bool {
	var none T
	if at.what != none && at.until > now && at.key != e.key {
		return true
	}
	bytes := int(e.size)
	for i := range set {
		if other := &set[i]; other != at && other.until > now {
			bytes += int(other.size)
		}
	}
	return bytes > t.bytes
}

// makeRoom forgets those who matter least until so many bytes more are not too many.
func (t *table[T]) makeRoom(set *[ways]entry[T], more int, now int64) {
	var none T
	for {
		bytes, least := more, (*entry[T])(nil)
		for i := range set {
			e := &set[i]
			if e.what == none {
				continue
			}
			bytes += int(e.size)
			if least == nil || least.until > now && (e.until <= now || t.uses-e.used > t.uses-least.used) {
				least = e
			}
		}
		if bytes <= t.bytes || least == nil {
			return
		}
		t.forget(least)
	}
}

// grow doubles the sets. It runs a dozen times in the life of a cache, the last time for as many entries as it will hold.
func (t *table[T]) grow(now int64) {
	old := t.sets
	t.sets = make([][ways]entry[T], 2*len(old))
	var none T
	for i := range old {
		for _, e := range old[i] {
			if e.what != none && e.until > now {
				*t.place(t.set(e.key), e.key, now) = e
			}
		}
	}
}
