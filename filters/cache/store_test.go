package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// fields makes fields of lines "Name: value" with bars between.
func fields(text string) *message.Head {
	h := &message.Head{Status: 200}
	for l := range strings.SplitSeq(text, "|") {
		if name, value, ok := strings.Cut(l, ": "); ok {
			h.AddString(name, value)
		}
	}
	return h
}

// response makes an entry with a body.
func response(url, vary, selector, body string) *entry {
	e := &entry{status: 200, vary: vary, selector: selector, body: []byte(body), fresh: policy.Freshness{Lifetime: time.Hour}}
	e.fields.AddString("X-Body", body)
	e.seal(len(url))
	return e
}

const plenty = 1 << 40

func guard(name string) *gateway.Guard { return gateway.NewGuard("cache", name, gateway.Enforce, nil) }

func (s *Store) keep(url string, e *entry, limit int64) bool {
	hash := s.hash([]byte(url))
	return s.put(hash, []byte(url), e, s.generation(hash), limit)
}

// body returns what is kept for a request with these fields, "-" if nothing.
func (s *Store) body(url, request string) string {
	var scratch []byte
	e, _ := s.lookup(s.hash([]byte(url)), []byte(url), nil, &fields(request).Fields, &scratch)
	if e == nil {
		return "-"
	}
	return string(e.body)
}

func TestVariantsOfOneURL(t *testing.T) {
	s := NewStore()
	vary := string(policy.AppendVary(nil, &fields("Vary: Foo").Fields))
	selector := func(request string) string { return string(policy.AppendSelector(nil, vary, &fields(request).Fields)) }
	s.keep("u", response("u", vary, selector("Foo: 1"), "one"), plenty)
	s.keep("u", response("u", vary, selector("Foo: 2"), "two"), plenty)
	f := func(request, want string) {
		t.Helper()
		if got := s.body("u", request); got != want {
			t.Errorf("%q: %s, want %s", request, got, want)
		}
	}
	f("Foo: 1", "one")
	f("Foo: 2", "two")
	f("", "-")
	s.keep("u", response("u", vary, selector("Foo: 1"), "newer"), plenty)
	f("Foo: 1", "newer")
	s.keep("u", response("u", "", "", "for all"), plenty) // the newest that fits
	f("Foo: 1", "for all")
	f("", "for all")
	if c := s.Counts(); c.Responses != 3 {
		t.Errorf("%d responses", c.Responses)
	}
}

// variantsMax: a client that makes up values for what Vary names replaces its own.
func TestVariantsAreBounded(t *testing.T) {
	s := NewStore()
	for i := range 10 * variantsMax {
		s.keep("u", response("u", "", fmt.Sprint(i), "x"), plenty)
	}
	if n := len(*s.find(s.hash([]byte("u")), []byte("u")).variants.Load()); n != variantsMax || s.count.Load() != variantsMax {
		t.Errorf("%d variants, %d counted", n, s.count.Load())
	}
}

// The store against a map: whatever is put in, taken out and looked up in any order, and nothing is left over in the accounts.
func TestStoreAgainstAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s, twin := NewStore(), map[string]string{}
	for i := range 50000 {
		url := fmt.Sprintf("http://h/%d/%d", rnd.IntN(10), rnd.IntN(300))
		switch n := rnd.IntN(1000); {
		case n < 400:
			body := fmt.Sprint(i)
			s.keep(url, response(url, "", "", body), plenty)
			twin[url] = body
		case n < 500:
			s.PurgeURL(url)
			delete(twin, url)
		case n < 502:
			prefix := url[:strings.LastIndexByte(url, '/')+1]
			want := 0
			for u := range twin {
				if strings.HasPrefix(u, prefix) {
					delete(twin, u)
					want++
				}
			}
			if got := s.PurgePrefix(prefix); got != want {
				t.Fatalf("%d purged, want %d", got, want)
			}
		default:
			want, there := twin[url]
			if !there {
				want = "-"
			}
			if got := s.body(url, ""); got != want {
				t.Fatalf("%s: %s, want %s", url, got, want)
			}
		}
	}
	if got := s.PurgeAll(); got != len(twin) || s.bytes.Load() != 0 || s.count.Load() != 0 {
		t.Errorf("%d purged, want %d; %d bytes and %d responses are left", got, len(twin), s.bytes.Load(), s.count.Load())
	}
	for i := range s.shards {
		if sh := &s.shards[i]; sh.count != 0 || sh.small.bytes != 0 || sh.main.bytes != 0 {
			t.Errorf("a shard has %d resources", sh.count)
		}
	}
}

// What is kept stays below the limit, and what is asked for stays when a crawler asks for everything once.
func TestMemoryIsBounded(t *testing.T) {
	s := NewStore()
	const limit = 1 << 20
	hot := func(i int) string { return fmt.Sprintf("hot/%d", i) }
	for i := range 100 {
		s.keep(hot(i), response(hot(i), "", "", "hot"), limit)
	}
	var scratch []byte
	use := func() (there int) {
		for i := range 100 {
			if e, _ := s.lookup(s.hash([]byte(hot(i))), []byte(hot(i)), nil, &message.Fields{}, &scratch); e != nil {
				e.touch()
				there++
			}
		}
		return there
	}
	use()
	for i := range 20000 {
		url := fmt.Sprintf("scan/%d", i)
		s.keep(url, response(url, "", "", strings.Repeat("x", 1000)), limit)
		if s.bytes.Load() > limit {
			t.Fatalf("%d bytes are kept", s.bytes.Load())
		}
		if i%500 == 0 {
			use()
		}
	}
	if n := use(); n != 100 {
		t.Errorf("of 100 that are in use %d are kept", n)
	}
	if s.Counts().Evicted == 0 {
		t.Error("nothing is counted as evicted")
	}
	s.shrink(0)
	if s.bytes.Load() != 0 {
		t.Errorf("%d bytes are left", s.bytes.Load())
	}
}

// What went from the small queue and comes back begins in the main one.
func TestWhoComesBackStays(t *testing.T) {
	s := NewStore()
	s.keep("u", response("u", "", "", "x"), plenty)
	s.shrink(0)
	s.keep("u", response("u", "", "", "x"), plenty)
	if sh := s.shard(s.hash([]byte("u"))); sh.main.first == nil || sh.small.first != nil {
		t.Error("it is in the small queue")
	}
	g := &ghosts{}
	for i := range uint64(3 * ghostsMax) {
		g.add(i)
		g.add(i)
	}
	if len(g.set) > ghostsMax || g.has(0) || !g.has(3*ghostsMax-1) {
		t.Errorf("%d are remembered", len(g.set))
	}
}

// A fill that began before a purge brings what may be older than the purge.
func TestPurgesOvertakeFills(t *testing.T) {
	s := NewStore()
	hash := s.hash([]byte("u"))
	f := func(purge func()) {
		t.Helper()
		since := s.generation(hash)
		purge()
		if s.put(hash, []byte("u"), response("u", "", "", "old"), since, plenty) {
			t.Error("what was fetched before the purge is kept")
		}
		if !s.keep("u", response("u", "", "", "new"), plenty) {
			t.Error("what was fetched after the purge is not kept")
		}
	}
	f(func() { s.PurgeURL("u") })
	f(func() { s.PurgePrefix("x") })
	f(func() { s.PurgeTag("t") })
	f(func() { s.PurgeAll() })
}

func TestURLsToPurge(t *testing.T) {
	s := NewStore()
	f := func(text string, whole bool, want string) {
		t.Helper()
		if got := string(s.normal(text, whole)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	f("HTTPS://Shop.Example:8443/A?B=C#d", true, "https://shop.example:8443/A?B=C")
	f("http://Shop.Example", true, "http://shop.example/")
	f("http://Shop.Example?b", true, "http://shop.example/?b")
	f("http://Shop.Exa", false, "http://shop.exa")
	f("http://a/?b&a", true, "http://a/?b&a")
	s.query.Store(&Query{Ignore: []string{"utm_*"}, Sort: true})
	f("http://a/x?b&utm_source=1&a", true, "http://a/x?a&b")
	f("http://a/x?utm_source=1", true, "http://a/x")
	f("http://a/x?b&a", false, "http://a/x?b&a")
}

func TestTags(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		h := fields(text)
		tags, ok := readTags(h)
		if got := strings.Join(tags, " "); got != want && ok || ok != (want != "too many") {
			t.Errorf("%s: %s, %v", text, got, ok)
		}
		if removeTags(h); len(tags) > 0 && (h.All()[0].Gone != true) {
			t.Errorf("%s: the client gets it", text)
		}
	}
	f("X: 1", "")
	f("Surrogate-Key: a b  c", "a b c")
	f("Cache-Tag: a, b,c|Surrogate-Key: d", "a b c d")
	f("Cache-Tag: "+strings.Repeat("a,", tagsMax+1), "too many")
	f("Cache-Tag: "+strings.Repeat("a", tagBytesMax+1), "too many")
	s := NewStore()
	for i, tags := range [][]string{{"a"}, {"a", "b"}, {"b"}} {
		e := response("u", "", "", "x")
		e.tags = tags
		s.keep(fmt.Sprint(i), e, plenty)
	}
	if n := s.PurgeTag("a"); n != 2 || s.body("2", "") != "x" {
		t.Errorf("%d purged", n)
	}
}

func TestBypassIsForgotten(t *testing.T) {
	s := NewStore()
	now := mono.Time(time.Hour)
	hash := s.hash([]byte("u"))
	f := func(at mono.Time, want bool) {
		t.Helper()
		if s.bypassing(hash, at) != want {
			t.Errorf("after %v: %v", at.Sub(now), !want)
		}
	}
	f(now, false)
	s.setBypass(hash, now)
	f(now, true)
	f(now.Add(bypassFor-time.Second), true)
	f(now.Add(bypassFor), false)
	s.setBypass(hash, now)
	s.keep("u", response("u", "", "", "x"), plenty) // it is kept after all
	f(now, false)
}

func TestQueriesInKeys(t *testing.T) {
	f := func(q Query, query, want string) {
		t.Helper()
		if got := string(q.appendTo(nil, []byte(query))); got != want {
			t.Errorf("%+v %s: %s, want %s", q, query, got, want)
		}
	}
	all := Query{}
	f(all, "", "?")
	f(all, "b=1&&a", "?b=1&&a")
	q := Query{Ignore: []string{"utm_*", "x"}, Sort: true}
	f(q, "", "")
	f(q, "utm_a=1&x&x=2", "")
	f(q, "b=1&a=2&xx=3&utm=4", "?a=2&b=1&utm=4&xx=3")
	f(q, "a=2&b&a=1", "?a=2&a=1&b")
	f(q, "%78=1", "?%78=1") // x in another spelling counts
	long := strings.Repeat("b&", paramsMax) + "a"
	f(q, long, "?"+long)
}

func TestSettings(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		_, problems := Compile(s, guard("x"), nil)
		var got []string
		for _, p := range problems {
			got = append(got, p.Field)
			if p.Cause == "" || p.Fix == "" {
				t.Errorf("%+v", p)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%+v: %s, want %s", s, got, want)
		}
	}
	f(Spec{}, "")
	f(Spec{Bytes: 100}, "max_bytes")
	f(Spec{Bytes: 1 << 20, EntryBytes: 1 << 20}, "max_entry_bytes")
	f(Spec{Rules: policy.Rules{Heuristic: 2}, Query: Query{Ignore: []string{"a=b", "*", "a*b"}}}, "heuristic query.ignore[0] query.ignore[2]")
	filter, _ := Compile(Spec{Rules: policy.Rules{NegativeLifetime: time.Second}}, guard("x"), nil)
	want := "keep responses, 64MiB in all, up to 1MiB each; 1s for 404 and its like; up to 1000 wait for another's answer, 5s at most"
	if got := filter.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Readers take no lock, while writers put, take out and grow: nobody gets what belongs to another URL.
func TestLoopsShareTheStore(t *testing.T) {
	s := NewStore()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			var scratch []byte
			for range 20000 {
				url := fmt.Sprint("u", rnd.IntN(2000))
				switch rnd.IntN(10) {
				case 0:
					s.keep(url, response(url, "", "", url), 1<<20)
				case 1:
					if rnd.IntN(100) == 0 {
						s.PurgePrefix(url)
					} else {
						s.PurgeURL(url)
					}
				default:
					if e, _ := s.lookup(s.hash([]byte(url)), []byte(url), nil, &message.Fields{}, &scratch); e != nil {
						e.touch()
						if string(e.body) != url {
							t.Errorf("%s: %s", url, e.body)
						}
					}
				}
			}
		})
	}
	all.Wait()
	if s.PurgeAll(); s.bytes.Load() != 0 || s.count.Load() != 0 {
		t.Errorf("%d bytes of %d responses are left", s.bytes.Load(), s.count.Load())
	}
}

// hit is what a hit costs above the gateway's own work: looking up, deciding and writing the head.
func hit(s *Store, url []byte, request, head *message.Head, scratch *[]byte) bool {
	e, _ := s.lookup(s.hash(url), url, nil, &request.Fields, scratch)
	c := policy.ReadRequest(&request.Fields)
	if e == nil || policy.Decide(&e.fresh, e.ageAt(1), &c) != policy.Fresh {
		return false
	}
	policy.Evaluate(&request.Fields, &e.fields, 0, 0)
	policy.ReadRange(&request.Fields, &e.fields, int64(len(e.body)), 0)
	e.touch()
	head.Reset()
	e.writeTo(head, false)
	said := policy.Said{Hit: true, HasTTL: true, TTL: time.Minute}
	b := policy.AppendAge((*scratch)[:0], time.Second)
	head.Add(ageField, b)
	b = said.Append(b[:0], cacheName)
	head.Add(statusField, b)
	*scratch = b
	return true
}

// filled is a store with a thousand responses that vary by a field, and a request for one of them.
func filled() (s *Store, url []byte, request *message.Head) {
	s = NewStore()
	vary := string(policy.AppendVary(nil, &fields("Vary: Accept-Encoding").Fields))
	request = fields("Accept: text/html|Accept-Encoding: gzip, br|User-Agent: test|Accept-Language: en")
	selector := string(policy.AppendSelector(nil, vary, &request.Fields))
	for i := range 1000 {
		u := fmt.Sprintf("http://shop.example/items/%d?page=1", i)
		e := &entry{status: 200, vary: vary, selector: selector, body: make([]byte, 1024), fresh: policy.Freshness{Lifetime: time.Hour}}
		for _, l := range []string{"Content-Type: text/html", "Cache-Control: max-age=3600", `ETag: "abc"`, "Vary: Accept-Encoding", "Date: x"} {
			name, value, _ := strings.Cut(l, ": ")
			e.fields.AddString(name, value)
		}
		e.seal(len(u))
		s.keep(u, e, plenty)
	}
	return s, []byte("http://shop.example/items/500?page=1"), request
}

func TestHitsAllocateNothing(t *testing.T) {
	s, url, request := filled()
	var scratch []byte
	var head message.Head
	if n := testing.AllocsPerRun(100, func() {
		if !hit(s, url, request, &head, &scratch) {
			t.Fatal("no hit")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHit(b *testing.B) {
	s, url, request := filled()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var scratch []byte
		var head message.Head
		var own message.Head
		request.CopyTo(&own.Fields)
		for pb.Next() {
			if !hit(s, url, &own, &head, &scratch) {
				b.Error("no hit")
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := NewStore()
	b.ReportAllocs()
	for i := range b.N {
		url := fmt.Sprint("http://shop.example/items/", i)
		s.keep(url, response(url, "", "", "some body"), 64<<20)
	}
}
