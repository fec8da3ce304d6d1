package jwt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// newCache is a cache of a loop.
func newCache(entries, tokenBytesMax int) *cache {
	c := new(cache)
	c.init(entries, tokenBytesMax)
	return c
}

func TestTagsStandForTheWholeToken(t *testing.T) {
	c, other := newCache(16, tokenBytesDefault), newCache(16, tokenBytesDefault)
	seen := map[tag]string{}
	for _, text := range []string{"", "a", "b", "aa", "a\x00", "\x00a", "abcdefghijklmnop", "abcdefghijklmnopq", "abcdefghijklmnop\x00"} {
		got := c.tag([]byte(text))
		if before, twice := seen[got]; twice {
			t.Errorf("%q and %q have one tag", before, text)
		}
		seen[got] = text
		if got != c.tag([]byte(text)) {
			t.Errorf("%q has two tags", text)
		}
		if got == other.tag([]byte(text)) {
			t.Errorf("%q has the same tag on two loops", text)
		}
	}
	token := []byte(pairs()[ES256].sign(nil, goodClaims))
	first := c.tag(token)
	for i := range token {
		for bit := range 8 {
			token[i] ^= 1 << bit
			if c.tag(token) == first {
				t.Fatalf("bit %d of byte %d makes no difference", bit, i)
			}
			token[i] ^= 1 << bit
		}
	}
}

func TestWhatIsKnownOfTokens(t *testing.T) {
	var none *KeySet
	es, rs := keySet(t, pairs()[ES256]).keys[0], keySet(t, pairs()[RS256]).keys[0]
	set := none.successor([]*Key{es})
	c := newCache(16, tokenBytesDefault)
	good, bad := []byte("good"), []byte("bad")
	c.know(good, set, &person{key: es, from: now - 10, until: now + 100}, now)
	c.knowBad(bad, set, signature, now)
	is := func(token []byte, s *KeySet, at int64) string {
		i, r := c.lookup(token, s, at)
		switch {
		case i != nil:
			return "good"
		case r != nil:
			return r.reason
		}
		return "unknown"
	}
	f := func(name, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	f("good", is(good, set, now), "good")
	f("bad", is(bad, set, now), "jwt_signature")
	f("another", is([]byte("other"), set, now), "unknown")
	f("bad, a little later", is(bad, set, now+badSeconds-1), "jwt_signature")
	f("bad, later", is(bad, set, now+badSeconds), "unknown")

	both := set.successor([]*Key{es, rs})
	f("good, when a key came", is(good, both, now), "good")
	f("good, under the new set", is(good, both, now), "good")
	c.knowBad(bad, set, signature, now)
	f("bad, when a key came", is(bad, both, now), "unknown")

	f("good, when its key went", is(good, both.successor([]*Key{rs}), now), "unknown")
	f("good, when its key is back", is(good, both, now), "unknown") // it is forgotten

	c.know(good, set, &person{key: es, from: now - 10, until: now + 100}, now)
	f("good, before it expires", is(good, set, now+99), "good")
	f("good, when the clock was set back", is(good, set, now-11), "unknown")
	c.know(good, set, &person{key: es, from: now - 10, until: now + 100}, now)
	f("good, expired", is(good, set, now+100), "unknown")

	c.know(good, set, &person{key: es, until: foreverSeconds}, now)
	f("without an end", is(good, set, now+goodSecondsMax-1), "good")
	f("without an end, after an hour", is(good, set, now+goodSecondsMax), "unknown")

	off := newCache(0, tokenBytesDefault)
	off.know(good, set, &person{key: es, until: foreverSeconds}, now)
	if i, _ := off.lookup(good, set, now); i != nil {
		t.Error("a cache of nothing knows something")
	}
}

// A slow twin: what is found was put, is right, and the table never has more than it may.
func TestTheTableAgainstAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{64, 256, 1024} {
		table := table[*refusal]{max: most}
		var set KeySet
		twin := map[key]*refusal{}
		hits := 0
		for i := range 20000 {
			at := key(r.IntN(256) | r.IntN(most/64)<<8)
			if e := table.find(at); e != nil {
				if hits++; twin[at] != e.what {
					t.Fatal("another's verdict")
				}
			}
			if i%2 == 0 {
				what := refusals[r.IntN(len(refusals))]
				twin[at] = what
				table.put(entry[*refusal]{key: at, set: &set, until: now + 1, what: what}, now)
				if e := table.find(at); e == nil || e.what != what {
					t.Fatal("what was just put is not there")
				}
			}
			if len(table.sets)*ways > most {
				t.Fatalf("%d places, at most %d", len(table.sets)*ways, most)
			}
		}
		seen := map[key]bool{}
		for _, s := range table.sets {
			for _, e := range s {
				if e.what != nil && seen[e.key] {
					t.Fatal("a token is there twice")
				}
				seen[e.key] = true
			}
		}
		t.Logf("%d places: %d hits of 20000", most, hits)
	}
}

// badMax: a flood of bad tokens pushes no good one out.
func TestAFloodOfBadTokensLeavesTheGoodOnes(t *testing.T) {
	var none *KeySet
	key := keySet(t, pairs()[ES256]).keys[0]
	set := none.successor([]*Key{key})
	c := newCache(64, tokenBytesDefault)
	good := []byte("good")
	c.know(good, set, &person{key: key, until: now + 100}, now)
	for i := range 100000 {
		bad := fmt.Appendf(nil, "bad %d", i)
		c.knowBad(bad, set, signature, now)
	}
	if p, _ := c.lookup(good, set, now); p == nil {
		t.Error("the good token is forgotten")
	}
	if n := len(c.bad.sets) * ways; n > badMax {
		t.Errorf("%d bad tokens are known, at most %d", n, badMax)
	}
}

// A key is a hash of a token's end, and another token may have it.
func TestAnotherTokenOfTheSameKeyIsNotKnown(t *testing.T) {
	var none *KeySet
	key := keySet(t, pairs()[ES256]).keys[0]
	set := none.successor([]*Key{key})
	c := newCache(64, tokenBytesDefault)
	end := strings.Repeat("e", keyBytes)
	one, other := []byte("first"+end), []byte("other"+end)
	if c.key(one) != c.key(other) || c.key(one) == c.key(one[:len(one)-1]) {
		t.Fatal("the key is not of the end")
	}
	c.know(one, set, &person{key: key, until: now + 100}, now)
	if p, r := c.lookup(other, set, now); p != nil || r != nil {
		t.Error("the other is known")
	}
	if p, _ := c.lookup(one, set, now); p == nil {
		t.Error("the one is forgotten")
	}
	for i := range one { // cut, and changed in each place
		if p, _ := c.lookup(one[i+1:], set, now); p != nil {
			t.Fatalf("known without the first %d bytes", i+1)
		}
		changed := bytes.Clone(one)
		changed[i] ^= 1
		if p, _ := c.lookup(changed, set, now); p != nil {
			t.Fatalf("known with another byte %d", i)
		}
	}
	c.knowBad(other, set, signature, now)
	third := []byte("three" + end)
	if _, r := c.lookup(third, set, now); r != nil {
		t.Error("a third is known to be bad")
	}
	if _, r := c.lookup(other, set, now); r != signature {
		t.Error("the other is not known to be bad")
	}
	if p, _ := c.lookup(one, set, now); p == nil {
		t.Error("the one is forgotten")
	}
}

// shareBytes, setBytes: a slow twin counts the bytes that are kept.
func TestTheBytesOfKnownTokensAreBounded(t *testing.T) {
	var none *KeySet
	key := keySet(t, pairs()[ES256]).keys[0]
	set := none.successor([]*Key{key})
	r := rand.New(rand.NewPCG(3, 4))
	for _, most := range []int{1 << 10, 8 << 10, 64 << 10} {
		const entries = 64
		c := newCache(entries, most)
		bound := max(ways*2<<10, most)
		tokens := make([][]byte, 4*entries)
		for i := range tokens {
			tokens[i] = fmt.Appendf(nil, "%0*d", 1+r.IntN(most), i)
		}
		hits := 0
		for i := range 20 * entries {
			token, at := tokens[r.IntN(len(tokens))], int64(now+i/64)
			if p, _ := c.lookup(token, set, at); p != nil {
				if hits++; !bytes.Equal(p.token, token) {
					t.Fatal("another's person")
				}
				continue
			}
			p := &person{key: key, until: at + int64(r.IntN(20)) + 1}
			c.know(token, set, p, at)
			if known, _ := c.lookup(token, set, at); known != p {
				t.Fatal("what was just noted is not known")
			}
			all := 0
			for i := range c.good.sets {
				kept := 0
				for _, e := range c.good.sets[i] {
					if e.what != nil {
						kept += len(e.what.token)
					}
				}
				if all += kept; kept > bound {
					t.Fatalf("a set keeps %d bytes, at most %d", kept, bound)
				}
			}
			if all > entries/ways*bound {
				t.Fatalf("%d bytes are kept, at most %d", all, entries/ways*bound)
			}
		}
		long := make([]byte, bound+1)
		c.know(long, set, &person{key: key, until: now + 100}, now)
		if p, _ := c.lookup(long, set, now); p != nil {
			t.Error("a token is known that is too long")
		}
		t.Logf("tokens of %d bytes at most: %d hits", most, hits)
	}
}

func TestAKnownTokenCostsNoMemory(t *testing.T) {
	p := pairs()[ES256]
	text, set, c := []byte(p.sign(nil, goodClaims)), keySet(t, p), newCache(64, tokenBytesDefault)
	c.know(text, set, &person{key: set.keys[0], until: now + 100}, now)
	n := testing.AllocsPerRun(100, func() {
		if p, _ := c.lookup(text, set, now); p == nil {
			t.Fatal("unknown")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
