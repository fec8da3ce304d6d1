package kit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The load: three nodes of a service read rows by keys that follow Zipf's law, and one operation in twenty changes a row.
const (
	loadKeys   = 2000
	loadSkew   = 1.1
	loadNodes  = 3
	perNode    = 2                    // goroutines
	loadEvery  = 2 * time.Millisecond // of each goroutine: 3,000 operations a second in all
	writeOneOf = 20
	// A row takes loadTakes to load; one load in a hundred takes slowTakes longer after it has read the row, as a busy database does.
	loadTakes   = time.Millisecond
	slowOneOf   = 100
	slowTakes   = 20 * time.Millisecond
	loseOneOf   = 5
	loadWarming = time.Second
)

// Life is how long records live: in Redis, and in the process where there is such a level. Zero means the default of the cache.
type Life struct{ Shared, Local time.Duration }

// Cache is one cache on trial, as three nodes use it.
type Cache struct {
	Name  string
	nodes []node
	// trips is how often nodes have gone to Redis; nil means as often as Redis has executed a command.
	trips func() uint64
	end   func()
}

// node is one node's way to it.
type node interface {
	// get returns the version of a row, whether it came from the cache, and whether without leaving the process.
	get(ctx context.Context, key int64) (version uint64, hit, local bool, err error)
	// changed tells that a row has a new version.
	changed(ctx context.Context, key int64, version uint64) error
}

// Source is where rows are kept.
type Source struct {
	loads atomic.Uint64
	rows  [loadKeys]struct {
		sync.Mutex
		commits []time.Time // of versions from 2 on
	}
}

// version is that of a row now.
func (s *Source) version(key int64) uint64 {
	row := &s.rows[key]
	row.Lock()
	defer row.Unlock()
	return uint64(len(row.commits)) + 1
}

// load is what a cache calls for a row it does not have.
func (s *Source) load(ctx context.Context, key int64) (version uint64, err error) {
	n := s.loads.Add(1)
	back := loadTakes / 2
	if n%slowOneOf == 0 {
		back += slowTakes
	}
	if err := pause(ctx, loadTakes/2); err != nil {
		return 0, err
	}
	version = s.version(key)
	return version, pause(ctx, back)
}

// change commits a new version.
func (s *Source) change(key int64) (version uint64) {
	row := &s.rows[key]
	row.Lock()
	defer row.Unlock()
	row.commits = append(row.commits, time.Now())
	return uint64(len(row.commits)) + 1
}

// old is for how long a version had been replaced at a time.
func (s *Source) old(key int64, version uint64, at time.Time) time.Duration {
	row := &s.rows[key]
	row.Lock()
	defer row.Unlock()
	if version == 0 || version > uint64(len(row.commits)) {
		return 0
	}
	return max(0, at.Sub(row.commits[version-1]))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Outcome is what a cache made of the load.
type Outcome struct {
	Reads, Writes   float64
	Hits, Local     float64 // of a thousand reads; Local are those of Hits that stayed in the process
	HitP50, HitP99  float64 // microseconds
	LocalP99        float64 // of those that stayed in the process; 0 of a cache without such a level
	Trips, Commands float64 // for a thousand reads
	RedisCPU        float64 // microseconds for a thousand reads
	Loads           float64 // for a thousand reads
	Oldest          float64 // milliseconds
	StaleReads      float64 // of a thousand reads: answers that had been replaced for more than 50 ms
	CPU             float64 // microseconds of this process for a read, the load's own included
}

// staleFrom is what nobody notices.
const staleFrom = 50 * time.Millisecond

// tally is what one goroutine saw.
type tally struct {
	reads, writes, hits, local, stale int
	oldest                            time.Duration
	times, within                     []time.Duration // of hits, and of those in the process
}

// fill has every node read every row once.
func (c *Cache) fill(ctx context.Context) error {
	errs := make([]error, loadNodes*perNode)
	var all sync.WaitGroup
	for g := range errs {
		all.Go(func() {
			for key := g / loadNodes; key < loadKeys && errs[g] == nil; key += perNode {
				_, _, _, errs[g] = c.nodes[g%loadNodes].get(ctx, int64(key))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Ask fills a cache, puts the load on it for d, after a warm-up, and measures. With lossy, one change in five is not told to the cache.
func Ask(ctx context.Context, c *Cache, r *Redis, s *Source, d time.Duration, lossy bool) (Outcome, error) {
	if err := c.fill(ctx); err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	var counting atomic.Bool
	running, stop := context.WithTimeout(ctx, loadWarming+d)
	defer stop()
	tallies := make([]tally, loadNodes*perNode)
	errs := make([]error, len(tallies))
	var all sync.WaitGroup
	for g := range tallies {
		all.Go(func() { errs[g] = tallies[g].ask(ctx, running, c.nodes[g%loadNodes], s, uint64(g), lossy, &counting) })
	}
	if err := pause(ctx, loadWarming); err != nil {
		all.Wait()
		return Outcome{}, err
	}
	before, err := r.Usage()
	if err != nil {
		stop()
		all.Wait()
		return Outcome{}, err
	}
	loads, trips, used := s.loads.Load(), uint64(0), cpu()
	if c.trips != nil {
		trips = c.trips()
	}
	counting.Store(true)
	all.Wait()
	used = cpu() - used
	after, err := r.Usage()
	if err = errors.Join(append(errs, err)...); err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	var sum tally
	for _, t := range tallies {
		sum.reads, sum.writes, sum.hits, sum.local, sum.stale = sum.reads+t.reads, sum.writes+t.writes, sum.hits+t.hits, sum.local+t.local, sum.stale+t.stale
		sum.oldest = max(sum.oldest, t.oldest)
		sum.times, sum.within = append(sum.times, t.times...), append(sum.within, t.within...)
	}
	if sum.reads == 0 || sum.hits == 0 {
		return Outcome{}, fmt.Errorf("%s: %d reads, %d of them hits", c.Name, sum.reads, sum.hits)
	}
	slices.Sort(sum.times)
	slices.Sort(sum.within)
	thousands := float64(sum.reads) / 1000
	o := Outcome{
		Reads: float64(sum.reads), Writes: float64(sum.writes), Hits: float64(sum.hits) / thousands, Local: float64(sum.local) / thousands,
		HitP50: micros(sum.times[len(sum.times)/2]), HitP99: micros(sum.times[len(sum.times)*99/100]),
		Commands: float64(after.Commands-before.Commands) / thousands, RedisCPU: micros(after.CPU-before.CPU) / thousands,
		Loads: float64(s.loads.Load()-loads) / thousands, Oldest: micros(sum.oldest) / 1000, StaleReads: float64(sum.stale) / thousands,
		CPU: micros(used) / float64(sum.reads),
	}
	if n := len(sum.within); n > 0 {
		o.LocalP99 = micros(sum.within[n*99/100])
	}
	o.Trips = o.Commands
	if c.trips != nil {
		o.Trips = float64(c.trips()-trips) / thousands
	}
	return o, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// ask is one goroutine. Operations are made with ctx and go on until running ends.
func (t *tally) ask(ctx, running context.Context, of node, s *Source, seed uint64, lossy bool, counting *atomic.Bool) error {
	random := rand.New(rand.NewPCG(seed, 7))
	zipf := rand.NewZipf(random, loadSkew, 1, loadKeys-1)
	ticker := time.NewTicker(loadEvery)
	defer ticker.Stop()
	for {
		select {
		case <-running.Done():
			return nil
		case <-ticker.C:
		}
		key, writes, lost, counts := int64(zipf.Uint64()), random.IntN(writeOneOf) == 0, random.IntN(loseOneOf) == 0, counting.Load()
		if writes {
			version := s.change(key)
			if !lossy || !lost {
				if err := of.changed(ctx, key, version); err != nil {
					return err
				}
			}
			if counts {
				t.writes++
			}
			continue
		}
		asked := time.Now()
		version, hit, local, err := of.get(ctx, key)
		took := time.Since(asked)
		if err != nil {
			return err
		}
		old := s.old(key, version, asked)
		if !counts {
			continue
		}
		t.reads++
		t.oldest = max(t.oldest, old)
		if old > staleFrom {
			t.stale++
		}
		if hit {
			t.hits++
			t.times = append(t.times, took)
		}
		if local {
			t.local++
			t.within = append(t.within, took)
		}
	}
}
