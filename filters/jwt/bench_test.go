package jwt

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"sync"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/identity"
)

// benchClaims are what a token of an identity provider has: it is 900 bytes long when signed by ES256.
const benchClaims = `{"iss":"https://idp.test/","aud":["api","web"],"sub":"5f3c7a52-9a1e-4f3e-8f0f-7d1f6f1f9f10","exp":1800000600,"iat":1799999990,"nbf":1799999990,` +
	`"jti":"0c7f5e7e-58ad-4a53-ae5f-3e7fb3fc5c93","azp":"web","scope":"openid profile email orders:read orders:write","sid":"f7a0b7c8-6b1e-4f0e-bb0e-9d5a3b1a7c11",` +
	`"email_verified":true,"name":"Alice Example","preferred_username":"alice","email":"alice@example.test","realm_access":{"roles":["user","admin"],"tenant":"a"}}`

// BenchmarkKnown is what a request with a known token costs beside its proxying: find it, look it up, tell the upstream.
func BenchmarkKnown(b *testing.B) {
	for _, name := range []Algorithm{HS256, ES256} {
		b.Run(string(name), func(b *testing.B) {
			p := pairs()[name]
			r, set, c := testRules(name), keySet(b, p), newCache(4096, tokenBytesDefault)
			whole := p.sign(nil, benchClaims)
			d := &desk{}
			t, refused := d.read([]byte(whole), now, &r)
			if refused != nil {
				b.Fatal(refused.reason)
			}
			c.know([]byte(whole), set, newPerson(d, &t, set.keys[0], &r), now)
			forward, err := identity.NewForward([]identity.Field{{Name: "X-User", Claim: "sub"}, {Name: "X-Tenant", Claim: "realm_access.tenant"}})
			if err != nil {
				b.Fatal(err)
			}
			places := []Place{{}}
			template := request("", "Host: exam.test", "User-Agent: bench", "Accept: */*", "Accept-Encoding: gzip", "X-Request-ID: 1", "X-Forwarded-For: 10.0.0.1",
				"Authorization: Bearer "+whole)
			h := &message.Head{}
			b.ReportAllocs()
			for b.Loop() {
				template.Fields.CopyTo(&h.Fields) // some 20 ns that are not ours
				text, _ := find(h, places)
				i, _ := c.lookup(text, set, now)
				if i == nil {
					b.Fatal("unknown")
				}
				c.desk.decoded = strip(h, places, c.desk.decoded)
				i.tell(h, &forward)
			}
		})
	}
}

// BenchmarkNew is a token that was never seen: reading it, and its signature.
func BenchmarkNew(b *testing.B) {
	for _, name := range Algorithms() {
		p := pairs()[name]
		r, set := testRules(name), keySet(b, p)
		whole := []byte(p.sign(nil, benchClaims))
		d := &desk{}
		b.Run(string(name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t, refused := d.read(whole, now, &r)
				if refused != nil {
					b.Fatal(refused.reason)
				}
				from, _ := set.find(t.kid, t.hasKid, t.method)
				if from.verify(t.method, t.signed, t.signature) == nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkRead is reading and judging alone: what a bad token costs the loop.
func BenchmarkRead(b *testing.B) {
	p := pairs()[ES256]
	r, whole, d := testRules(ES256), []byte(p.sign(nil, benchClaims)), &desk{}
	b.ReportAllocs()
	for b.Loop() {
		if _, refused := d.read(whole, now, &r); refused != nil {
			b.Fatal(refused.reason)
		}
	}
}

// BenchmarkTag compares what a token can be known by.
func BenchmarkTag(b *testing.B) {
	whole := []byte(pairs()[ES256].sign(nil, benchClaims))
	c, kept := newCache(16, tokenBytesDefault), bytes.Clone(whole)
	b.Run(fmt.Sprintf("GHASH-%d", len(whole)), func(b *testing.B) {
		for b.Loop() {
			c.tag(whole)
		}
	})
	b.Run("SHA-256", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(whole)
		}
	})
	b.Run("maphash-twice", func(b *testing.B) {
		s, u := maphash.MakeSeed(), maphash.MakeSeed()
		for b.Loop() {
			maphash.Bytes(s, whole)
			maphash.Bytes(u, whole)
		}
	})
	b.Run("maphash-and-copy", func(b *testing.B) {
		s := maphash.MakeSeed()
		for b.Loop() {
			if maphash.Bytes(s, whole) == 0 || !bytes.Equal(whole, kept) {
				b.Fatal("another")
			}
		}
	})
	b.Run("end-and-copy", func(b *testing.B) {
		for b.Loop() {
			if c.key(whole) == 0 || !bytes.Equal(whole, kept) {
				b.Fatal("another")
			}
		}
	})
}

// BenchmarkMany is known tokens that are too many for the processor's nearer caches.
func BenchmarkMany(b *testing.B) {
	p := pairs()[ES256]
	set, r, d := keySet(b, p), testRules(ES256), &desk{}
	t, refused := d.read([]byte(p.sign(nil, benchClaims)), now, &r)
	if refused != nil {
		b.Fatal(refused.reason)
	}
	c := newCache(4*4096, tokenBytesDefault)
	tokens := make([][]byte, 4096)
	for i := range tokens {
		tokens[i] = fmt.Appendf(nil, "%0744d", i)
		c.know(tokens[i], set, newPerson(d, &t, set.keys[0], &r), now)
	}
	b.Run("known", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c.lookup(tokens[i*2741%len(tokens)], set, now) // all but the few that met a full set
		}
	})
	b.Run("GHASH", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c.tag(tokens[i*2741%len(tokens)])
		}
	})
}

// BenchmarkShared is the road not taken: one table for all loops, under locks.
func BenchmarkShared(b *testing.B) {
	p := pairs()[ES256]
	set := keySet(b, p)
	var shards [64]struct {
		sync.Mutex
		cache *cache
		_     [64]byte
	}
	for i := range shards {
		shards[i].cache = newCache(64, tokenBytesDefault)
	}
	var tokens [256][]byte
	own := newCache(1024, tokenBytesDefault)
	for i := range tokens {
		tokens[i] = fmt.Appendf(nil, "%0744d", i)
		shards[i%64].cache.know(tokens[i], set, &person{key: set.keys[0], until: foreverSeconds}, now)
		own.know(tokens[i], set, &person{key: set.keys[0], until: foreverSeconds}, now)
	}
	b.Run("own", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			own.lookup(tokens[i%256], set, now)
		}
	})
	b.Run("shared", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				s := &shards[i%64]
				s.Lock()
				s.cache.lookup(tokens[i%256], set, now)
				s.Unlock()
			}
		})
	})
}
