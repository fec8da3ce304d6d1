package cache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/store/redisconn"
)

// TierSpec says in which Redis gateways share their responses. Zero means the default, unless said otherwise.
type TierSpec struct {
	Redis redisconn.Settings // with a timeout of 0: 100 ms
	// Name tells the cache from others in Redis: gateways that say the same share it. Empty: the name of the filter.
	Name string
	// Wait is how long a request waits for Redis before it goes on to the upstream; 0 means 50 ms.
	Wait time.Duration
	// EntryBytes bounds the responses that go to Redis; 0 means 256 KiB.
	EntryBytes int64
	// Missing is what Redis needs, such as a password or a file, and cannot be had; nil: nothing.
	Missing *Problem
}

// fill puts defaults in, and returns what is wrong.
func (s *TierSpec) fill(filter string, entryBytes int64) (problems []Problem) {
	if s.Name == "" {
		s.Name = filter
	}
	if s.Redis.Timeout == 0 {
		s.Redis.Timeout = tierTimeoutDefault
	}
	if s.Wait == 0 {
		s.Wait = tierWaitDefault
	}
	if s.EntryBytes == 0 {
		s.EntryBytes = tierEntryDefault
	}
	s.EntryBytes = min(s.EntryBytes, entryBytes)
	if s.Redis.Timeout < time.Millisecond || s.Redis.Timeout > tierTimeMax {
		problems = append(problems, Problem{"redis.timeout", s.Redis.Timeout.String() + " is not between 1ms and " + tierTimeMax.String(),
			"write 100ms, or leave it out"})
	}
	if s.Missing != nil {
		problems = append(problems, *s.Missing)
	}
	if s.Wait < time.Millisecond || s.Wait > tierTimeMax {
		problems = append(problems, Problem{"redis.wait", s.Wait.String() + " is not between 1ms and " + tierTimeMax.String(),
			"requests wait for it: write 50ms, or leave it out"})
	}
	return problems
}

const (
	// tierTimeMax bounds both times: a Redis that takes longer is slower than most upstreams.
	tierTimeMax        = time.Second
	tierTimeoutDefault = 100 * time.Millisecond
	tierWaitDefault    = 50 * time.Millisecond
	// tierEntryDefault: Redis does one thing at a time, and a response of a megabyte is half a millisecond for all who wait.
	tierEntryDefault = 256 << 10
	// tierKept bounds how long a response is in Redis: purges need to be remembered no longer.
	tierKept = 24 * time.Hour
	// notesKept is how long purges are remembered there.
	notesKept = 2 * tierKept
	// urlNoteKept is how long a purge of one URL is remembered: longer than any answer is on its way that was asked for before.
	urlNoteKept = 10 * time.Minute
	// askersMax and writersMax are how many round trips are made at the same time, on one connection.
	askersMax, writersMax = 16, 2
	// asksMax is how many requests wait for a free asker. More go on to the upstream.
	asksMax = 1024
	// writesMax and writesBytesMax bound what waits to be written. More is dropped: it is kept here, and others ask for it themselves.
	writesMax      = 1024
	writesBytesMax = 16 << 20
	// notesPause is how long the keeper waits for purges of others in one round trip, and so how soon it sees that Redis is gone.
	notesPause = 100 * time.Millisecond
	// backoffMin and backoffMax bound the time between two tries to reach Redis.
	backoffMin, backoffMax = 100 * time.Millisecond, time.Second
)

// Tier is what is kept in Redis beside a store, for all gateways. Loops leave questions and responses in its queues and never wait; its
// goroutines, from Start to Close, make the round trips. It is a gateway.Remembered.
//
// The first round trip that fails makes Redis unreachable: nobody asks it any more, and who waits goes on. The keeper connects anew, tells
// Redis what was purged meanwhile, learns what others purged, and only then is anything read back again.
type Tier struct {
	spec   TierSpec
	store  *Store
	node   string // this run of this process
	prefix string // of the keys of responses
	notes  [2]noteStream

	// Published.
	link   atomic.Pointer[tierLink] // nil: unreachable
	asks   chan *question
	asking atomic.Int64 // len(asks), and those about to be put there
	writes chan *write
	queued atomic.Int64 // bytes in writes
	tell   chan struct{}
	counts tierCounts
	ledger ledger

	mu struct {
		sync.Mutex
		stop    chan struct{}
		done    chan struct{}
		trouble error
	}
	telling sync.Mutex

	// Owned by the keeper.
	caughtUp bool // it has read what was there when it began

	// Frozen.
	read, keep, gone, note *rueidis.Lua
}

// tierLink is one connection.
type tierLink struct {
	rueidis.Client
	failed chan struct{} // closed by the first failure
	once   sync.Once
}

// noteStream is a stream of purges: of much, or of URLs. Owned by the keeper, but for its names.
type noteStream struct {
	key, count string
	last       string // id of the last that was read
	number     int64  // its number; 0: none was
}

// tierCounts are what the tier has done.
type tierCounts struct {
	hits, misses, late, busy, outdated, garbage, stored, refused, dropped, oversize, failures, told, heard, gaps atomic.Uint64
}

// TierView is a tier as an operator sees it.
type TierView struct {
	Address   string `json:"address"`
	Name      string `json:"name"`
	Reachable bool   `json:"reachable"`
	Trouble   string `json:"trouble,omitempty"` // why the last round trip failed that did
	Hits      uint64 `json:"hits"`              // responses that came from Redis
	Misses    uint64 `json:"misses"`            // requests for which it had none
	Late      uint64 `json:"late"`              // requests that waited as long as they may
	Busy      uint64 `json:"busy"`              // requests that did not ask because too many do
	Outdated  uint64 `json:"outdated"`          // responses that were purged, or too old
	Garbage   uint64 `json:"garbage"`           // values that nobody can have written who is in his right mind; deleted
	Stored    uint64 `json:"stored"`
	Refused   uint64 `json:"refused"`  // responses that were purged on their way
	Dropped   uint64 `json:"dropped"`  // responses that were not written because too many wait
	Oversize  uint64 `json:"oversize"` // responses that are too large for Redis
	Failures  uint64 `json:"failures"` // round trips, and connections that could not be made
	Told      uint64 `json:"told"`     // purges of this gateway that all others can know
	Pending   int    `json:"pending"`  // and that Redis has not been told yet
	Heard     uint64 `json:"heard"`    // purges of others
	Gaps      uint64 `json:"gaps"`     // times when purges were missed, and all of the memory was purged for it
}

func newTier(spec TierSpec, store *Store) *Tier {
	var id [8]byte
	rand.Read(id[:])
	t := &Tier{spec: spec, store: store, node: hex.EncodeToString(id[:]), prefix: "yumen:cache:" + spec.Name + ":",
		asks: make(chan *question, asksMax), writes: make(chan *write, writesMax), tell: make(chan struct{}, 1),
		read: rueidis.NewLuaScript(readText), keep: rueidis.NewLuaScript(storeText), gone: rueidis.NewLuaScript(purgeURLText),
		note: rueidis.NewLuaScript(noteText)}
	for i, what := range []string{"purges", "urls"} {
		// Braces, so that a cluster has the stream and its number in one place.
		key := "yumen:cache:{" + spec.Name + "}:" + what
		t.notes[i] = noteStream{key: key, count: key + ":number", last: "0-0"}
	}
	return t
}

// Start is for gateway.Remembered: it begins the goroutines.
func (t *Tier) Start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.mu.done
	stop, done := make(chan struct{}), make(chan struct{})
	t.mu.stop, t.mu.done = stop, done
	t.store.tier.Store(t)
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		var all sync.WaitGroup
		for range askersMax {
			all.Go(func() { t.answer(stop) })
		}
		for range writersMax {
			all.Go(func() { t.write(stop) })
		}
		all.Go(func() { t.tellAll(stop) })
		t.connect(stop)
		all.Wait()
	}()
}

// Close is for gateway.Remembered: it ends the goroutines in the background.
func (t *Tier) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.stop != nil {
		close(t.mu.stop)
		t.mu.stop = nil
	}
	t.store.tier.CompareAndSwap(t, nil)
}

// Ended is closed when the goroutines have ended after Close.
func (t *Tier) Ended() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.done
}

// Tier describes the store's tier; nil: it has none.
func (s *Store) Tier() *TierView {
	if t := s.tier.Load(); t != nil {
		return t.View()
	}
	return nil
}

// View describes the tier. From any goroutine.
func (t *Tier) View() *TierView {
	n := &t.counts
	v := &TierView{Address: t.spec.Redis.Address, Name: t.spec.Name, Reachable: t.link.Load() != nil,
		Hits: n.hits.Load(), Misses: n.misses.Load(), Late: n.late.Load(), Busy: n.busy.Load(), Outdated: n.outdated.Load(),
		Garbage: n.garbage.Load(), Stored: n.stored.Load(), Refused: n.refused.Load(), Dropped: n.dropped.Load(),
		Oversize: n.oversize.Load(), Failures: n.failures.Load(), Told: n.told.Load(), Heard: n.heard.Load(), Gaps: n.gaps.Load()}
	t.ledger.Lock()
	v.Pending = len(t.ledger.pending)
	t.ledger.Unlock()
	t.mu.Lock()
	if t.mu.trouble != nil {
		v.Trouble = t.mu.trouble.Error()
	}
	t.mu.Unlock()
	return v
}

// tellNumbers yields the numbers for metrics.
func (t *Tier) tellNumbers(yield func(number string, value float64)) {
	v := t.View()
	reachable := 0.0
	if v.Reachable {
		reachable = 1
	}
	yield("redis_reachable", reachable)
	for _, n := range []struct {
		name  string
		value uint64
	}{{"redis_hits", v.Hits}, {"redis_misses", v.Misses}, {"redis_late", v.Late}, {"redis_busy", v.Busy}, {"redis_outdated", v.Outdated},
		{"redis_garbage", v.Garbage}, {"redis_stored", v.Stored}, {"redis_refused", v.Refused}, {"redis_dropped", v.Dropped},
		{"redis_oversize", v.Oversize}, {"redis_failures", v.Failures}, {"redis_told", v.Told}, {"redis_pending", uint64(v.Pending)},
		{"redis_heard", v.Heard}, {"redis_gaps", v.Gaps}} {
		yield(n.name, float64(n.value))
	}
}

// lose is called when a round trip has failed: Redis is unreachable until the keeper has reached it again. Without a link the failure is
// only counted.
func (t *Tier) lose(l *tierLink, err error) {
	t.counts.failures.Add(1)
	t.mu.Lock()
	t.mu.trouble = err
	t.mu.Unlock()
	if l == nil {
		return
	}
	t.link.CompareAndSwap(l, nil)
	l.once.Do(func() { close(l.failed) })
}

// connect is the keeper: it reaches Redis again and again.
func (t *Tier) connect(stop <-chan struct{}) {
	for pause := backoffMin; ; {
		conn, err := redisconn.Dial(&t.spec.Redis)
		if err != nil {
			t.lose(nil, err)
		} else {
			l := &tierLink{Client: conn, failed: make(chan struct{})}
			reached, err := t.follow(stop, l)
			if err != nil {
				t.lose(l, err)
			}
			t.link.CompareAndSwap(l, nil)
			conn.Close()
			if reached {
				pause = backoffMin
			}
		}
		again := time.NewTimer(pause - pause/4 + time.Duration(randomBelow(int64(pause/2))))
		pause = min(2*pause, backoffMax)
		select {
		case <-stop:
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// follow keeps up with the purges of others until the connection fails. Nothing is read back before Redis knows what was purged here, and
// this node what was purged elsewhere.
func (t *Tier) follow(stop <-chan struct{}, l *tierLink) (reached bool, err error) {
	if err := t.tellPending(l); err != nil {
		return false, err
	}
	if err := t.rewind(l); err != nil {
		return false, err
	}
	for more := true; more; {
		if more, err = t.learn(l, 0); err != nil {
			return false, err
		}
	}
	t.caughtUp = true
	t.link.Store(l)
	t.signal() // of what was purged meanwhile
	for {
		select {
		case <-stop:
			return true, nil
		case <-l.failed:
			return true, nil
		default:
		}
		if _, err := t.learn(l, notesPause); err != nil {
			return true, err
		}
	}
}

// inTime is a context for one round trip.
func (t *Tier) inTime(more time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), t.spec.Redis.Timeout+more)
}

// key is the one of a URL's responses.
func (t *Tier) key(url string) string {
	sum := sha256.Sum256([]byte(url))
	return t.prefix + hex.EncodeToString(sum[:16])
}

// fieldOf is where a response is among those of its URL: v and g are other things.
func fieldOf(vary, selector string) string {
	sum := sha256.Sum256([]byte(vary + "\xff" + selector))
	return hex.EncodeToString(sum[:16])
}

// mend is called with an error of one key: what lies there is not ours, and goes. false: the error is one of all keys.
func (t *Tier) mend(l *tierLink, key string, err error) bool {
	if redisconn.IsOfAll(err) {
		t.lose(l, err)
		return false
	}
	t.counts.garbage.Add(1)
	ctx, cancel := t.inTime(0)
	defer cancel()
	if err := l.Do(ctx, l.B().Del().Key(key).Build()).Error(); err != nil {
		t.lose(l, err)
		return false
	}
	return true
}

// write is a response on its way to Redis.
type write struct {
	url   string
	e     *entry
	began mono.Time
	size  int64
}

// offer has a response written. On any loop: it waits for nothing.
func (t *Tier) offer(e *entry, url []byte, began mono.Time) {
	switch {
	case t.link.Load() == nil || t.worth(e, e.ageAt(t.store.clock())) <= 0:
		return
	case int64(len(e.body)+len(e.raw)) > t.spec.EntryBytes:
		t.counts.oversize.Add(1)
		return
	}
	if t.queued.Add(e.size) <= writesBytesMax {
		select {
		case t.writes <- &write{string(url), e, began, e.size}:
			return
		default:
		}
	}
	t.queued.Add(-e.size)
	t.counts.dropped.Add(1)
}

// worth is how long an entry of an age is worth keeping: as long as it may be used, fresh or stale.
func (t *Tier) worth(e *entry, age time.Duration) time.Duration {
	if e.fresh.NoCache {
		return 0
	}
	return min(e.fresh.Lifetime+max(e.fresh.StaleWhileRevalidate, e.fresh.StaleIfError)-age, tierKept)
}

// write is a goroutine that writes responses.
func (t *Tier) write(stop <-chan struct{}) {
	var b []byte
	for {
		select {
		case <-stop:
			return
		case w := <-t.writes:
			b = t.writeOne(b[:0], w)
			t.queued.Add(-w.size)
		}
	}
}

func (t *Tier) writeOne(b []byte, w *write) []byte {
	l := t.link.Load()
	if l == nil {
		t.counts.dropped.Add(1)
		return b
	}
	now := t.store.clock()
	age := w.e.ageAt(now)
	worth := t.worth(w.e, age)
	if worth < time.Second {
		return b
	}
	b = appendRecord(b, w.url, w.e, age)
	// That the way there takes time makes it seem to have been asked for later than it was. It takes a timeout at most.
	ago := now.Sub(w.began) + t.spec.Redis.Timeout
	key := t.key(w.url)
	ctx, cancel := t.inTime(0)
	defer cancel()
	stored, err := t.keep.Exec(ctx, l, []string{key}, []string{decimal(ago.Milliseconds()), decimal(worth.Milliseconds()),
		fieldOf(w.e.vary, w.e.selector), w.e.vary, string(b), decimal(variantsMax)}).AsInt64()
	switch {
	case isFull(err): // it is read all the same
		t.lose(nil, err)
		t.counts.dropped.Add(1)
	case err != nil:
		t.mend(l, key, err)
	case stored == 0:
		t.counts.refused.Add(1)
	default:
		t.counts.stored.Add(1)
	}
	return b
}

// isFull tells of a Redis that has no room, and may not make any.
func isFull(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "OOM")
}

func (t *Tier) signal() {
	select {
	case t.tell <- struct{}{}:
	default:
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func randomBelow(n int64) int64 {
	var b [8]byte
	rand.Read(b[:])
	sum := uint64(0)
	for _, c := range b {
		sum = sum<<8 | uint64(c)
	}
	return int64(sum>>1) % max(n, 1)
}
