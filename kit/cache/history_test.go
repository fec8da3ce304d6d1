package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"
)

// change is one commit of a row. Its version is its place in the row's history.
type change struct {
	at      time.Duration
	deleted bool
	acked   time.Duration // when Invalidate first took its event; 0 if it did not
}

// world is a table, three nodes over one Redis, and a clock that all of them go by. It does one thing at a time.
type world struct {
	t      *rapid.T
	hands  *hands
	redis  *miniredis.Miniredis
	began  time.Time
	nodes  []*Cache[string, uint64]
	cut    []bool // from Redis
	rows   map[string][]change
	events []Event[string] // that the reader of the binlog has not told yet
	told   []Event[string]
	epochs []time.Duration // when InvalidateAll was taken
	lag    bool            // loads read rows as they were a while ago
	plan   []int           // what happens during the next load, after it has read the row
	during time.Duration   // that it has lasted
	loads  int             // of the Get under way
}

const (
	worldTTL, worldLocalTTL = 4 * time.Second, time.Second
	loadMax                 = 100 * time.Millisecond // by the world's clock
	loadTimeout             = 20 * time.Second       // by the real one, on which nothing here waits
)

func (w *world) clock() time.Duration { return time.Duration(w.hands.at.Load()) }

func (w *world) start(i int) {
	c, err := prepare(Config[string, uint64]{
		Name: "history", Load: w.load, TTL: worldTTL, LocalTTL: worldLocalTTL, NegativeTTL: 2 * time.Second, LoadTimeout: loadTimeout,
		Logger: slog.New(slog.DiscardHandler),
		Redis:  Redis{Addresses: []string{w.redis.Addr()}, Timeout: 5 * time.Second, FollowEvery: time.Millisecond, NoTracking: true, FeedLength: 100},
	}, w.hands.now)
	if err != nil {
		w.t.Fatal(err)
	}
	// The bound is by the world's clock, by which a trip takes no time.
	c.bound = max(worldLocalTTL, loadMax)
	close(c.ended)
	w.nodes[i] = c
	w.pump(i)
}

func (w *world) pump(i int) {
	if !w.cut[i] {
		if err := w.nodes[i].read(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) load(_ context.Context, key string) (uint64, uint64, error) {
	if w.loads++; w.loads > 1 { // the replica was behind
		w.advance(100 * time.Millisecond)
	}
	history := w.rows[key]
	n := len(history)
	if w.lag {
		for n > 1 && w.clock()-history[n-1].at < 300*time.Millisecond {
			n--
		}
	}
	w.during = 0
	plan := w.plan
	w.plan = nil
	for _, step := range plan {
		w.step(step, key)
	}
	if history[n-1].deleted {
		return 0, 0, ErrNotFound
	}
	return uint64(n), uint64(n), nil
}

func (w *world) advance(d time.Duration) {
	w.hands.advance(d)
	w.redis.SetTime(w.began.Add(w.clock()))
	w.redis.FastForward(d)
}

// step does one of the things that can happen at any time. loading is the key of the load during which it happens, if it does.
func (w *world) step(n int, loading string) {
	node, key := n/64%3, string(rune('a'+n/256%2))
	c := w.nodes[node]
	switch n % 16 {
	case 0, 1, 2: // a commit
		deleted := !w.lag && n/1024%4 == 0
		w.rows[key] = append(w.rows[key], change{at: w.clock(), deleted: deleted})
		w.events = append(w.events, Event[string]{Key: key, Version: uint64(len(w.rows[key])), Deleted: deleted})
	case 3, 4, 5: // the reader of the binlog tells
		if len(w.events) > 0 && w.tell(c, w.events[0]) {
			w.told, w.events = append(w.told, w.events[0]), w.events[1:]
		}
	case 6: // an event is lost
		if len(w.events) > 0 {
			w.events = w.events[1:]
		}
	case 7: // the reader starts again where it was a while ago
		if len(w.told) > 0 {
			w.tell(c, w.told[n/1024%len(w.told)])
		}
	case 8, 9:
		w.pump(node)
	case 10: // the feed loses what it had
		w.redis.Del(c.link.feed)
	case 11:
		if !w.lag {
			w.redis.FlushAll()
		}
	case 12: // a node is cut off, or back
		if loading != "" {
			return // its lease would be waited for on the real clock
		}
		if w.cut[node] = !w.cut[node] && !w.lag; w.cut[node] {
			c.link.up.Store(false)
		} else {
			w.pump(node)
		}
	case 13:
		if !w.cut[node] && c.InvalidateAll(background, "test") == nil {
			w.epochs = append(w.epochs, w.clock())
		}
	case 14:
		d := time.Duration(n/1024) * time.Millisecond
		if loading != "" {
			d = min(d, loadMax-w.during)
			w.during += d
		}
		w.advance(d)
	case 15:
		if loading == "" {
			c.Close()
			w.start(node)
		}
	}
}

func (w *world) tell(c *Cache[string, uint64], e Event[string]) bool {
	if c.Invalidate(background, e) != nil {
		return false
	}
	if at := &w.rows[e.Key][e.Version-1].acked; *at == 0 {
		*at = w.clock()
	}
	return true
}

// get asks a node, and compares the answer with the history.
func (w *world) get(node int, key string, plan []int) {
	w.plan, w.loads = plan, 0
	asked := w.clock()
	c := w.nodes[node]
	v, err := c.Get(background, key)
	c.running.flights.Wait()
	w.plan = nil
	history := w.rows[key]
	n := int(v.Value)
	switch {
	case errors.Is(err, ErrNotFound):
		for n = len(history); n > 0 && !history[n-1].deleted; n-- {
		}
	case err != nil:
		w.t.Fatalf("%v", err)
	}
	if n == 0 || v.Source.Makeshift() {
		w.t.Fatalf("%+v, %v", v, err)
	}
	bound, untold := c.Stats().Bound, c.Stats().BoundUntold
	for i, newer := range history[n:] {
		if old := asked - newer.acked; newer.acked > 0 && old > bound {
			w.t.Fatalf("%s is version %d (%v), %v after the event of version %d", key, n, v.Source, old, n+1+i)
		}
		if old := asked - newer.at; !w.lag && old > untold {
			w.t.Fatalf("%s is version %d (%v), %v after the commit of version %d", key, n, v.Source, old, n+1+i)
		}
		for _, epoch := range w.epochs {
			if !w.lag && newer.at < epoch && asked-epoch > bound {
				w.t.Fatalf("%s is version %d (%v), %v after an epoch began that was after version %d", key, n, v.Source, asked-epoch, n+1+i)
			}
		}
	}
}

// history runs steps, of which a third are reads.
func history(t *rapid.T, lag bool) {
	w := &world{t: t, hands: newHands(), rows: map[string][]change{}, nodes: make([]*Cache[string, uint64], 3), cut: make([]bool, 3), lag: lag}
	w.began = time.Unix(1_800_000_000, 0)
	w.redis = miniredis.NewMiniRedis()
	if err := w.redis.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.redis.Close()
	w.redis.SetTime(w.began.Add(w.clock()))
	for _, key := range []string{"a", "b"} {
		w.rows[key] = []change{{at: w.clock()}}
	}
	for i := range w.nodes {
		w.start(i)
		defer func() { w.nodes[i].Close() }()
	}
	numbers := rapid.IntRange(0, 1<<20-1)
	steps := 90
	if lag {
		steps = 40
	}
	for range rapid.IntRange(10, steps).Draw(t, "steps") {
		n := numbers.Draw(t, "step")
		if n%3 > 0 {
			w.get(n/3%3, fmt.Sprintf("%c", 'a'+n/9%2), rapid.SliceOfN(numbers, 0, 4).Draw(t, "during"))
		} else {
			w.step(n/3, "")
		}
	}
}

// Nothing older than the bound is read, whatever is lost, cut off, forgotten, late or started again.
func TestNoHistoryReadsWhatIsOlderThanTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { history(t, false) })
}

// The same where loads read a replica that lags behind by up to 300 ms, as long as Redis remembers.
func TestNoHistoryWithAReplicaBringsBackWhatIsOlderThanAnEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { history(t, true) })
}
