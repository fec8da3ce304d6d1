package cache

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
	"github.com/yumen-io/yumen/store/redisconn"
)

// node is a gateway as Redis sees it.
type node struct {
	t *testing.T
	f *Filter
	*Store
	tier *Tier
}

func startNode(t *testing.T, addr string, change func(s *Spec)) *node {
	t.Helper()
	s := Spec{Tier: &TierSpec{Redis: redisconn.Settings{Address: addr, Timeout: time.Second}, Wait: time.Second}}
	if change != nil {
		change(&s)
	}
	f, problems := Compile(s, guard("pages"), nil)
	if problems != nil {
		t.Fatal(problems)
	}
	f.tier.Start()
	t.Cleanup(func() {
		f.tier.Close()
		<-f.tier.Ended()
	})
	n := &node{t, f, f.store, f.tier}
	n.is("it is reached", func() bool { return n.tier.link.Load() != nil })
	return n
}

// is waits until something is so, for as long as a busy machine may need.
func (n *node) is(what string, ok func() bool) {
	n.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for give := time.NewTimer(20 * time.Second); !ok(); {
		select {
		case <-ticker.C:
		case <-give.C:
			n.t.Fatalf("it never came true that %s; %+v", what, *n.tier.View())
		}
	}
}

// keeps has a response kept here and in Redis, asked for just now, and waits until it is there.
func (n *node) keeps(url string, e *entry) {
	n.t.Helper()
	before := n.tier.counts.stored.Load()
	began := mono.Now()
	e.kept = began
	if hash := n.hash([]byte(url)); !n.put(hash, []byte(url), e, n.generation(hash), plenty) {
		n.t.Fatal("it is not kept")
	}
	n.tier.offer(e, []byte(url), began)
	n.is("it is stored", func() bool { return n.tier.counts.stored.Load() > before })
}

// finds asks Redis, and returns the body that is kept here then; "-" if Redis has nothing good.
func (n *node) finds(url, request string) string {
	n.t.Helper()
	q := &question{f: n.f, hash: n.hash([]byte(url)), url: url, since: n.generation(n.hash([]byte(url)))}
	fields(request).CopyTo(&q.asked)
	if !n.tier.find(q) {
		return "-"
	}
	return n.body(url, request)
}

func (n *node) want(url, request, want string) {
	n.t.Helper()
	if got := n.finds(url, request); got != want {
		n.t.Errorf("%s %s: %s, want %s; %+v", url, request, got, want, *n.tier.View())
	}
}

// tick moves the clock of Redis: a store takes a timeout off from when it was asked for.
func tick(m *miniredis.Miniredis, now *time.Time, d time.Duration) {
	*now = now.Add(d)
	m.SetTime(*now)
	m.FastForward(d)
}

func TestNodesShareResponses(t *testing.T) {
	m := miniredis.RunT(t)
	a, b := startNode(t, m.Addr(), nil), startNode(t, m.Addr(), nil)
	a.keeps("http://h/1", response("http://h/1", "", "", "one"))
	b.want("http://h/1", "", "one")
	b.want("http://h/2", "", "-")

	// RFC 9111 4.1: variants, the newest of which says by what.
	vary := string(policy.AppendVary(nil, &fields("Vary: Foo").Fields))
	for _, v := range []string{"x", "y"} {
		selector := string(policy.AppendSelector(nil, vary, &fields("Foo: "+v).Fields))
		a.keeps("http://h/v", response("http://h/v", vary, selector, v))
	}
	b.want("http://h/v", "Foo: x", "x")
	b.want("http://h/v", "Foo: y", "y")
	b.want("http://h/v", "Foo: z", "-")

	e := response("http://h/t", "", "", "tagged")
	e.status, e.tags, e.came = 404, []string{"a", "b"}, 1e9
	e.fresh = policy.Freshness{Lifetime: time.Hour, Age: time.Minute, StaleIfError: time.Second, StaleWhileRevalidate: 2 * time.Second, NoStale: true, Explicit: true}
	a.keeps("http://h/t", e)
	b.want("http://h/t", "", "tagged")
	var scratch []byte
	got, _ := b.lookup(b.hash([]byte("http://h/t")), []byte("http://h/t"), nil, &fields("").Fields, &scratch)
	if age := got.fresh.Age; age < time.Minute || age > 2*time.Minute {
		t.Errorf("it is %v old", age)
	}
	got.fresh.Age = e.fresh.Age
	if got.status != 404 || got.came != 1e9 || strings.Join(got.tags, " ") != "a b" || got.fresh != e.fresh {
		t.Errorf("%+v", got)
	}
}

// A response is in Redis as long as it may be used, fresh or stale, and grows old there.
func TestResponsesGrowOldInRedis(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Now()
	m.SetTime(now)
	a, b := startNode(t, m.Addr(), nil), startNode(t, m.Addr(), nil)
	short, long := response("http://h/", "", "1", "short"), response("http://h/", "", "", "long")
	short.fresh.Lifetime, short.fresh.StaleIfError = time.Minute, time.Minute
	long.fresh.Lifetime = 48 * time.Hour
	a.keeps("http://h/", short)
	key := a.tier.key("http://h/")
	if ttl := m.TTL(key); ttl < 119*time.Second || ttl > 2*time.Minute {
		t.Errorf("it goes after %v", ttl)
	}
	a.keeps("http://h/", long)
	if ttl := m.TTL(key); ttl != tierKept {
		t.Errorf("it goes after %v", ttl)
	}
	tick(m, &now, 2*time.Hour)
	b.want("http://h/", "", "long")
	var scratch []byte
	e, _ := b.lookup(b.hash([]byte("http://h/")), []byte("http://h/"), nil, &fields("").Fields, &scratch)
	if e.fresh.Age < 2*time.Hour {
		t.Errorf("it is %v old", e.fresh.Age)
	}
	q := &question{f: b.f, url: "http://h/", prefix: []byte("1")}
	if b.tier.find(q) || b.tier.counts.outdated.Load() != 1 {
		t.Errorf("what is too old is found; %+v", *b.tier.View())
	}
	n := a.tier.counts.stored.Load()
	for _, f := range []policy.Freshness{{}, {Lifetime: time.Hour, NoCache: true}, {Lifetime: time.Hour, Age: time.Hour}} {
		e := response("http://h/n", "", "", "x")
		e.fresh = f
		a.tier.offer(e, []byte("http://h/n"), 0)
	}
	a.keeps("http://h/last", response("http://h/last", "", "", "x"))
	if a.tier.counts.stored.Load() != n+1 {
		t.Error("what is worth nothing is stored")
	}
}

// Purges on one node are purges on all: of what is in their memory, and of what is in Redis.
func TestPurgesReachAllNodes(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Now()
	m.SetTime(now)
	a, b := startNode(t, m.Addr(), nil), startNode(t, m.Addr(), nil)
	for i, p := range []Purge{{URL: "http://h/a/1"}, {Prefix: "http://h/a/"}, {Tag: "x"}, {All: true}} {
		e := response("http://h/a/1", "", "", "old")
		e.tags = []string{"x"}
		a.keeps("http://h/a/1", e)
		a.keeps("http://h/b", response("http://h/b", "", "", "other"))
		b.want("http://h/a/1", "", "old")
		b.want("http://h/b", "", "other")
		tick(m, &now, 2*time.Second)
		if done := b.Purge(p); !done.Told || !done.Shared || done.Responses != []int{1, 1, 1, 2}[i] {
			t.Errorf("%+v: %+v", p, done)
		}
		a.is("it is purged", func() bool { return a.body("http://h/a/1", "") == "-" })
		a.want("http://h/a/1", "", "-")
		b.want("http://h/a/1", "", "-")
		other := "other"
		if p.All {
			other = "-"
		}
		a.want("http://h/b", "", other)
		// A node that begins now knows it too.
		c := startNode(t, m.Addr(), nil)
		c.want("http://h/a/1", "", "-")
		c.want("http://h/b", "", other)
		tick(m, &now, 2*time.Second)
		// What is asked for from now on is shared again.
		a.keeps("http://h/a/1", response("http://h/a/1", "", "", "new"))
		b.want("http://h/a/1", "", "new")
		b.Purge(Purge{All: true})
		a.is("all is gone", func() bool { return a.count.Load() == 0 })
		tick(m, &now, 2*time.Second)
	}
	if v := a.tier.View(); v.Gaps != 0 || v.Heard != 8 || v.Pending != 0 {
		t.Errorf("%+v", v)
	}
}

// What was asked for before its URL was purged elsewhere is not stored any more.
func TestPurgesOvertakeStores(t *testing.T) {
	m := miniredis.RunT(t)
	a := startNode(t, m.Addr(), nil)
	b := startNode(t, m.Addr(), nil)
	began := mono.Now()
	b.change([]byte("http://h/"))
	b.is("Redis is told", func() bool { return b.tier.counts.told.Load() == 1 })
	e := response("http://h/", "", "", "old")
	e.kept = began
	a.tier.offer(e, []byte("http://h/"), began)
	a.is("it is refused", func() bool { return a.tier.counts.refused.Load() == 1 })
	a.want("http://h/", "", "-")
}

// Whatever lies in Redis is taken for nothing, and goes, unless it is what was put there.
func TestGarbageInRedis(t *testing.T) {
	m := miniredis.RunT(t)
	a, b := startNode(t, m.Addr(), nil), startNode(t, m.Addr(), nil)
	const url = "http://h/"
	a.keeps(url, response(url, "", "", "good"))
	key, field := a.tier.key(url), fieldOf("", "")
	good := m.HGet(key, field)
	n := uint64(0)
	f := func(what string, spoil func()) {
		t.Helper()
		m.Del(key)
		m.HSet(key, "v", "", field, good)
		spoil()
		b.want(url, "", "-")
		if n++; b.tier.counts.garbage.Load() != n || m.Exists(key) && m.HGet(key, field) != "" {
			t.Errorf("%s: %d counted, and it is still there", what, b.tier.counts.garbage.Load())
		}
	}
	for at := range good {
		if at < 2*stampLen { // the times are Redis' own
			continue
		}
		f(fmt.Sprint("byte ", at), func() { m.HSet(key, field, good[:at]+string(good[at]^0x55)+good[at+1:]) })
		f(fmt.Sprint("cut at ", at), func() { m.HSet(key, field, good[:at]) })
	}
	f("no times", func() { m.HSet(key, field, strings.Repeat("x", 200)) })
	f("a string", func() { m.Del(key); m.Set(key, "x") })
	f("a long vary", func() { m.HSet(key, "v", strings.Repeat("x", keyBytesMax+1)) })
	other := response("http://evil/", "", "", "evil")
	f("another URL's", func() { m.HSet(key, field, good[:2*stampLen]+string(appendRecord(nil, "http://evil/", other, 0))) })
	m.Del(key)
	m.HSet(key, "v", "garbage", field, good)
	b.want(url, "", "-")
	m.Del(key)
	m.HSet(key, "v", "", field, good, "g", "garbage")
	b.want(url, "", "good")
	a.keeps(url, response(url, "", "", "better"))
	m.Del(key)
	m.Set(key, "a string, and it is written to")
	e := response(url, "", "", "x")
	a.tier.offer(e, []byte(url), mono.Now())
	a.is("it is mended", func() bool { return a.tier.counts.garbage.Load() == 1 })
	a.keeps(url, response(url, "", "", "x"))
	// Purges, too.
	m.Del(key)
	m.Set(key, "x")
	if done := a.Purge(Purge{URL: url}); !done.Told {
		t.Errorf("%+v", done)
	}
}

// Whoever cannot know what was purged takes everything for purged.
func TestGapsInNotes(t *testing.T) {
	m := miniredis.RunT(t)
	a := startNode(t, m.Addr(), nil)
	stream := a.tier.notes[0].key
	f := func(what string, spoil func()) {
		t.Helper()
		a.keeps("http://h/1", response("http://h/1", "", "", "x"))
		before := a.tier.counts.gaps.Load()
		spoil()
		a.is("all is purged: "+what, func() bool { return a.body("http://h/1", "") == "-" && a.tier.counts.gaps.Load() > before })
		a.want("http://h/1", "", "-")
		m.FlushAll()
		a.is("it is reached", func() bool { return a.tier.link.Load() != nil })
	}
	add := func(values ...string) {
		if _, err := m.XAdd(stream, "*", values); err != nil {
			t.Fatal(err)
		}
	}
	f("a number is missing", func() { add("n", "7", "by", "x", "kind", "tag", "value", "none") })
	f("no number", func() { add("by", "x") })
	f("an unknown kind", func() { add("n", "1", "by", "x", "kind", "regexp", "value", ".*") })
}

// Redis is gone: that is known at once, what is kept here is answered with, and purges are told when it is back.
func TestRedisGone(t *testing.T) {
	m := miniredis.RunT(t)
	a, b := startNode(t, m.Addr(), nil), startNode(t, m.Addr(), nil)
	a.keeps("http://h/1", response("http://h/1", "", "", "x"))
	b.want("http://h/1", "", "x")
	m.Close()
	a.want("http://h/2", "", "-")
	a.is("it is known", func() bool { return a.tier.link.Load() == nil && b.tier.link.Load() == nil })
	if a.f.asksTier(&visit{}) || a.body("http://h/1", "") != "x" {
		t.Error("it is still asked, or nothing is kept here")
	}
	if done := a.Purge(Purge{Prefix: "http://h/"}); done.Told || !done.Shared || done.Responses != 1 {
		t.Errorf("%+v", done)
	}
	for i := range 2 * pendingMax { // pendingMax
		a.change(fmt.Append(nil, "http://h/", i))
	}
	if v := a.tier.View(); v.Pending > pendingMax+1 || v.Reachable || v.Trouble == "" {
		t.Errorf("%+v", *v)
	}
	// What is pretended to be Redis takes a millisecond for each; these are several rounds too.
	a.tier.ledger.Lock()
	last := len(a.tier.ledger.pending) - 1
	a.tier.ledger.pending = append(a.tier.ledger.pending[:4*notesTold:4*notesTold], a.tier.ledger.pending[last])
	a.tier.ledger.Unlock()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	b.is("it is told", func() bool { return b.body("http://h/1", "") == "-" })
	a.is("all is told", func() bool { return a.tier.View().Pending == 0 })
	a.want("http://h/1", "", "-")
}

// An answer that left Redis before a purge did not, and comes after it, is not believed; nor is one that comes before Redis is told.
func TestAnswersThatCrossAPurge(t *testing.T) {
	var l ledger
	f := func(url, tags string, began stamp, want bool) {
		t.Helper()
		if got := l.believes(url, strings.Fields(tags), began); got != want {
			t.Errorf("%s %s at %d: %v", url, tags, began, got)
		}
	}
	p := l.add(purgeURL, "u")
	if l.add(purgeURL, "u") != p {
		t.Error("it is told twice")
	}
	if p.sent = true; l.add(purgeURL, "u") == p {
		t.Error("a purge counts as told by one before it")
	}
	l.add(purgeTag, "x")
	l.add(purgePrefix, "http://a/")
	f("u", "", 9, false)
	f("v", "", 9, true)
	f("v", "y x", 9, false)
	f("http://a/b", "", 9, false)
	l.pending = nil
	l.note(purgeURL, "u", 5)
	l.note(purgeTag, "x", 6)
	l.note(purgePrefix, "http://a/", 7)
	f("u", "", 5, false)
	f("u", "", 6, true)
	f("v", "x", 6, false)
	f("v", "x", 7, true)
	f("http://a/b", "", 7, false)
	f("http://a/b", "", 8, true)
	l.note(purgeAll, "", 8)
	f("v", "", 8, false)
	f("v", "", 9, true)
}

// Each bound of the tier's, by its name.
func TestTierBounds(t *testing.T) {
	m := miniredis.RunT(t)
	a := startNode(t, m.Addr(), func(s *Spec) { s.Tier.EntryBytes = 1 << 10 })
	a.tier.offer(response("u", "", "", strings.Repeat("x", 1<<10)), []byte("u"), 0)
	if a.tier.counts.oversize.Load() != 1 {
		t.Error("max_entry_size")
	}
	for i := range variantsMax + 1 {
		a.keeps("http://h/", response("http://h/", "", fmt.Sprint(i), "x"))
	}
	if keys, _ := m.HKeys(a.tier.key("http://h/")); len(keys) > variantsMax {
		t.Errorf("variantsMax: %d fields", len(keys))
	}
	a.tier.queued.Store(writesBytesMax)
	a.tier.offer(response("u", "", "", "x"), []byte("u"), 0)
	if a.tier.counts.dropped.Load() != 1 {
		t.Error("writesBytesMax")
	}
	a.tier.queued.Store(0)
	a.tier.asking.Store(asksMax)
	if a.f.askTier(nil, &visit{}) || a.tier.counts.busy.Load() != 1 {
		t.Error("asksMax")
	}
	a.tier.asking.Store(0)
	var l ledger
	for i := range stamp(3 * ledgerMax) {
		l.note(purgeTag, fmt.Sprint(i), i+1)
		l.note(purgePrefix, fmt.Sprint("http://", i), i+1)
	}
	if len(l.tags) > ledgerMax || len(l.prefixes) > prefixesMax || l.believes("u", nil, 2*ledgerMax) || !l.believes("u", nil, 3*ledgerMax+1) {
		t.Errorf("ledgerMax, prefixesMax: %d, %d, %d", len(l.tags), len(l.prefixes), l.floor)
	}
}

func FuzzRecord(f *testing.F) {
	e := response("http://h/", "\x00foo", "\x00x", "body")
	e.tags = []string{"a"}
	good := appendRecord(nil, "http://h/", e, time.Second)
	f.Add(good)
	for i := range good {
		f.Add(good[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		url, e, err := parseRecord(b)
		if err != nil {
			return
		}
		again := appendRecord(nil, url, e, e.fresh.Age)
		url2, e2, err := parseRecord(again)
		if err != nil || url2 != url || string(e2.body) != string(e.body) || e2.fresh != e.fresh || e2.fields.RawLen() != e.fields.RawLen() {
			t.Errorf("%q becomes %q", b, again)
		}
	})
}

func TestRecordsOfOtherKinds(t *testing.T) {
	f := func(change func(e *entry), ok bool) {
		t.Helper()
		e := response("u", "", "", "x")
		change(e)
		if _, _, err := parseRecord(appendRecord(nil, "u", e, 0)); (err == nil) != ok {
			t.Error(err)
		}
	}
	add := func(name, value string) func(e *entry) { return func(e *entry) { e.fields.AddString(name, value) } }
	f(add("X-A", "b"), true)
	f(add("X-A", "b\r\nX-B: c"), false)
	f(add("X-A", "b\x00"), false)
	f(add("X A", "b"), false)
	f(add("", "b"), false)
	f(add("Content-Length", "5"), false)
	f(add("Transfer-Encoding", "chunked"), false)
	f(add("Connection", "close"), false)
	f(func(e *entry) { e.status = 206 }, false)
	f(func(e *entry) { e.status = 101 }, false)
	f(func(e *entry) { e.status = 600 }, false)
	f(func(e *entry) { e.tags = make([]string, tagsMax+1) }, false)
}
