package kit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

// trial is a cache under the load, with all that is told to it or only four fifths.
type trial struct {
	name  string
	of    func(address string, s *Source, life Life) (*Cache, error)
	life  Life
	lossy bool
}

func trials() []trial {
	return []trial{
		{"kit/cache", Yumen, Life{}, false}, {"go-zero", GoZero, Life{}, false},
		{"kit/cache, short lives, a fifth lost", Yumen, shortLife, true}, {"go-zero, short lives, a fifth lost", GoZero, shortLife, true},
	}
}

// shortLife is for the trials that lose invalidations, so that records end within them.
var shortLife = Life{Shared: 3 * time.Second, Local: time.Second}

// put has a cache asked on an empty Redis.
func put(t *testing.T, r *Redis, of trial, d time.Duration) Outcome {
	t.Helper()
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	s := &Source{}
	c, err := of.of(r.Address, s, of.life)
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	o, err := Ask(t.Context(), c, r, s, d, of.lossy)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func redisServer(t *testing.T) *Redis {
	t.Helper()
	logx.Disable() // it would tell of each slow call and of itself every minute
	if _, err := exec.LookPath("redis-server"); err != nil && *reportFile == "" && os.Getenv("CI") == "" {
		t.Skip("redis-server is not installed: it is in Debian's package of that name")
	}
	r, err := StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// loadTable puts the load on all caches in turn.
func loadTable(t *testing.T) string {
	t.Helper()
	r := redisServer(t)
	all := make([][]Outcome, len(trials()))
	for range *loadRounds {
		for i, of := range trials() {
			o := put(t, r, of, *loadFor)
			t.Logf("%s: %+v", of.name, o)
			all[i] = append(all[i], o)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, loadHead, loadNodes, loadNodes*perNode*int(time.Second/loadEvery), loadKeys, loadSkew, 100/writeOneOf, loadTakes, 100/slowOneOf, slowTakes, shortLife.Shared, shortLife.Local)
	for i, of := range trials() {
		m := func(figure func(Outcome) float64) float64 { return median(all[i], figure) }
		fmt.Fprintf(&b, "| %s | %.1f | %.0f | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.2f | %.0f |\n", of.name,
			m(func(o Outcome) float64 { return o.HitP50 }), m(func(o Outcome) float64 { return o.HitP99 }),
			within(m(func(o Outcome) float64 { return o.LocalP99 })), m(func(o Outcome) float64 { return o.Hits }), m(func(o Outcome) float64 { return o.Local }),
			m(func(o Outcome) float64 { return o.Trips }), m(func(o Outcome) float64 { return o.Commands }),
			m(func(o Outcome) float64 { return o.RedisCPU / 1000 }), m(func(o Outcome) float64 { return o.Loads }),
			worst(all[i], func(o Outcome) float64 { return o.Oldest }), m(func(o Outcome) float64 { return o.StaleReads }),
			m(func(o Outcome) float64 { return o.CPU }))
	}
	return b.String() + loadFoot
}

// within is a figure that only caches with a level in the process have.
func within(micros float64) string {
	if micros == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", micros)
}

// worst of some figure.
func worst(of []Outcome, figure func(Outcome) float64) (most float64) {
	for _, o := range of {
		most = max(most, figure(o))
	}
	return most
}

// A short load on each: it is answered, counted, and ours is never older than it promises.
func TestTheLoad(t *testing.T) {
	r := redisServer(t)
	for _, of := range trials() {
		o := put(t, r, of, 500*time.Millisecond)
		if o.Reads < 100 || o.Writes == 0 || o.Hits <= 0 || o.Trips <= 0 || o.Loads <= 0 || o.HitP99 < o.HitP50 {
			t.Errorf("%s: %+v", of.name, o)
		}
		t.Logf("%s: %+v", of.name, o)
	}
}

const loadHead = `## Caches over Redis

%d nodes, here in one process, and one redis-server do %d operations a second at a steady pace: reads of %d keys by Zipf's law (%g), the same
ones for both, and %d %% changes, each of which is told to the cache by its writer. Every node has read every row before. A row takes %v to load;
%d %% of the loads take %v longer after they have read the row, as a busy database does. A record is some 300 bytes of JSON. Records live as
long as each cache has them live by default (kit/cache: 10 min in Redis, 10 s in the process; go-zero: 7 days); in the trials that lose one
invalidation in five, %v in Redis and %v in the process.

| | p50 of hits, µs | p99 of hits, µs | p99 of those in the process, µs | hits/1,000 | in the process | trips to Redis/1,000 | commands in Redis/1,000 | ms of Redis' CPU/1,000 | loads/1,000 | oldest, ms | stale/1,000 | CPU µs/read |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

const loadFoot = `
- Figures are medians of the rounds, for a thousand reads where it says so; the oldest is that of all rounds.
- **hits**: reads that were answered without a load of their own, those that waited for another's included: their p99 is such a wait. A trip is a request and its answer, those of invalidations and of kit/cache's follower included; commands
  are what INFO commandstats counts, those within scripts included. A change costs kit/cache a script, and each node another that reads what was
  announced: the price of all of them knowing within milliseconds.
- **oldest**: for how long an answer had been replaced when it was asked for. **stale**: answers that had been for more than 50 ms.
- **CPU**: of all nodes and of the load itself, which is the same for both.
- What is lost is lost before it reaches the cache, so that only the life of a record ends it. A load that was overtaken by a change puts the old row back into
  go-zero's cache; kit/cache refuses it by its version.

`
