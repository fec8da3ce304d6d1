package id

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of generators and layouts.
var (
	// ErrNoWorker means that no id can be made at present for lack of a worker number: none was leased yet, the lease
	// may be lost, or the clock is past the mark that is written down. It goes away by itself.
	ErrNoWorker = errors.New("no worker number")
	// ErrClockBack means that the clock was set back by more than StepMax; the error is a *ClockError.
	ErrClockBack = errors.New("the clock went back")
	// ErrOutOfRange means a shard, table, worker or time that the layout has no room for.
	ErrOutOfRange = errors.New("out of range")
	// ErrShared means that two generators were given the same Worker.
	ErrShared = errors.New("the worker number is used by another generator")
)

// ClockError says how far the clock is behind the latest id. It is ErrClockBack to errors.Is.
type ClockError struct {
	Behind time.Duration // until ids can be made again, if the clock runs on as it is
}

// Error says how far the clock is behind.
func (e *ClockError) Error() string {
	return fmt.Sprintf("id: the clock is %s behind the latest id, no ids until it has caught up", e.Behind)
}

// Is makes the error ErrClockBack.
func (e *ClockError) Is(target error) bool { return target == ErrClockBack }

// StepMaxDefault is the default of Config.StepMax: what NTP steps on a healthy machine stay below.
const StepMaxDefault = 10 * time.Millisecond

// stepMaxLimit is the most that may be waited out: longer, a caller should be told.
const stepMaxLimit = time.Second

// Config is what a generator is made from.
type Config struct {
	// Layout of the ids; the zero Layout is Seed().
	Layout Layout
	// Worker says with which worker number; required. Fixed(0) for a single process.
	Worker Worker
	// StepMax is how far the clock may go back with callers waiting rather than being refused: 1 ms to 1 s. Zero:
	// StepMaxDefault.
	StepMax time.Duration
	// Clock is the time of day; nil: time.Now. Deadlines of leases are compared with its monotonic reading, if it has one.
	Clock func() time.Time

	// now and pause are what tests put in: the time of day in ns since 1970 together with the time that deadlines go by,
	// and waiting.
	now   func() (wall int64, at time.Time)
	pause func(ctx context.Context, d time.Duration) error
}

// Generator makes ids. All methods may be called by any goroutine; there are no locks on the way, each table has a word
// of its own, and nothing is allocated.
type Generator struct {
	// set by New
	layout  Layout
	epoch   int64 // Unix ms
	ticks   int64 // how many the layout can name
	stepMax int64 // ms
	worker  Worker
	now     func() (int64, time.Time)
	pause   func(context.Context, time.Duration) error

	present atomic.Pointer[holding]

	adopting sync.Mutex // held while a new term is taken over

	stats struct {
		waits, steps, clockRefusals, workerRefusals atomic.Uint64
	}
}

// holding is a term and the words of its tables. A new term has new words, which begin at nothing: the term itself
// knows after which time they may be used.
type holding struct {
	term   *Term
	worker uint64 // in its place
	slots  []slot
}

// slot is one table's word: the millisecond of the layout and the next free number of the sequence, which is
// 1<<SequenceBits when the millisecond is used up, so that the sequence has a bit more here than in an id. It only
// ever grows, which is why no two reservations overlap. A cache line each, so that tables do not slow each other.
type slot struct {
	word atomic.Uint64
	_    [56]byte
}

// New checks all of cfg and returns a generator. It starts no goroutine and needs no Close; a Worker may.
func New(cfg Config) (*Generator, error) {
	var errs []error
	if err := cfg.Layout.Validate(); err != nil {
		errs = append(errs, err)
	}
	if cfg.Worker == nil {
		errs = append(errs, errors.New("id: Worker is missing: give id.Fixed(n) or an etcdworker.Worker"))
	}
	if cfg.StepMax == 0 {
		cfg.StepMax = StepMaxDefault
	}
	if cfg.StepMax < time.Millisecond || cfg.StepMax > stepMaxLimit {
		errs = append(errs, fmt.Errorf("id: StepMax is %s and must be 1ms to %s", cfg.StepMax, stepMaxLimit))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	l := cfg.Layout.orDefault()
	g := &Generator{
		layout: l, epoch: l.epochMS(), ticks: 1 << l.TimeBits, stepMax: cfg.StepMax.Milliseconds(),
		worker: cfg.Worker, now: cfg.now, pause: cfg.pause,
	}
	if g.now == nil {
		g.now = timeNow
		if clock := cfg.Clock; clock != nil {
			g.now = func() (int64, time.Time) { t := clock(); return t.UnixNano(), t }
		}
	}
	if g.pause == nil {
		g.pause = pause
	}
	if t, err := g.worker.Term(); err == nil {
		if _, err := g.adopt(t); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func timeNow() (int64, time.Time) { t := time.Now(); return t.UnixNano(), t }

// Layout returns the layout of the generator's ids, with nothing left out.
func (g *Generator) Layout() Layout { return g.layout }

// Next makes one id for a table. It waits only where the millisecond is used up (less than 1 ms) or the clock went back
// by up to StepMax, and then no longer than ctx. Errors: ErrNoWorker, ErrClockBack, ErrOutOfRange, ErrShared, ctx's own.
func (g *Generator) Next(ctx context.Context, shard, table int) (ID, error) {
	b, err := g.Reserve(ctx, shard, table, 1)
	return b.First, err
}

// Block is a run of ids: First, First+1, and so on, N of them, all of one millisecond.
type Block struct {
	First ID
	N     int
}

// All ranges over the ids of the block.
func (b Block) All() iter.Seq[ID] {
	return func(yield func(ID) bool) {
		for i := range b.N {
			if !yield(b.First + ID(i)) {
				return
			}
		}
	}
}

// Fill makes len(dst) ids for a table, in ascending order. It waits as Next does, once for each millisecond that is used up,
// so that a long dst takes len(dst) / Layout.Sequences() milliseconds. It returns how many ids it made; fewer than len(dst)
// only with an error.
func (g *Generator) Fill(ctx context.Context, shard, table int, dst []ID) (int, error) {
	n := 0
	for n < len(dst) {
		b, err := g.Reserve(ctx, shard, table, len(dst)-n)
		if err != nil {
			return n, err
		}
		part := dst[n : n+b.N]
		for i := range part {
			part[i] = b.First + ID(i)
		}
		n += b.N
	}
	return n, nil
}

// Reserve makes at least one and at most n ids for a table at once: what is left of the present millisecond, a run of
// numbers. n is 1 or more. Errors and waiting are those of Next.
func (g *Generator) Reserve(ctx context.Context, shard, table, n int) (Block, error) {
	l := &g.layout
	if uint(shard)>>l.ShardBits != 0 {
		return Block{}, rangeError("shard", shard, l.ShardBits)
	}
	if uint(table)>>l.TableBits != 0 {
		return Block{}, rangeError("table", table, l.TableBits)
	}
	if n < 1 {
		return Block{}, fmt.Errorf("id: %d ids were asked for, must be at least 1: %w", n, ErrOutOfRange)
	}
	place := uint64(shard)<<l.TableBits | uint64(table)
	size := uint64(1) << l.SequenceBits
	for {
		h := g.present.Load()
		term, err := g.worker.Term()
		if err != nil {
			return Block{}, g.noWorker(err)
		}
		if h == nil || h.term != term {
			if h, err = g.adopt(term); err != nil {
				return Block{}, err
			}
		}
		// The word and the latest time are read before the clock: both come from earlier readings of it, so that whatever
		// is above this reading was set back in truth, and not by another goroutine that was faster.
		s := &h.slots[place]
		word := s.word.Load()
		seen := term.seen.Load()
		wall, at := g.now()
		ms := wall / int64(time.Millisecond)
		if ms < seen {
			if err := g.behind(ctx, seen-ms); err != nil {
				return Block{}, err
			}
			continue
		}
		if !term.covers(ms, at) {
			term.nudge()
			return Block{}, g.noWorker(errNotCovered)
		}
		tick := ms - g.epoch
		if tick < 0 || tick >= g.ticks {
			return Block{}, fmt.Errorf("id: the clock says %s, the layout ends at %s: %w",
				time.Unix(0, wall).UTC().Format(time.RFC3339), l.Last().Format(time.RFC3339), ErrOutOfRange)
		}
		if ms > seen {
			term.observe(ms)
		}
		first := uint64(0)
		if int64(word>>(l.SequenceBits+1)) == tick {
			first = word & (2*size - 1)
		}
		if first >= size {
			g.stats.waits.Add(1)
			if err := g.pause(ctx, time.Duration(int64(time.Millisecond)-wall%int64(time.Millisecond))); err != nil {
				return Block{}, err
			}
			continue
		}
		count := min(uint64(n), size-first)
		if !s.word.CompareAndSwap(word, uint64(tick)<<(l.SequenceBits+1)|(first+count)) {
			continue
		}
		// The term may have ended meanwhile, and its holder written down a mark below this millisecond: then these ids are
		// nobody's. If it ends from here on, seen covers them.
		if term.ended.Load() {
			return Block{}, g.noWorker(errEnded)
		}
		v := (uint64(tick)<<(l.ShardBits+l.TableBits)|place)<<(l.WorkerBits+l.SequenceBits) | h.worker | first
		return Block{ID(v), int(count)}, nil
	}
}

var (
	errNotCovered = fmt.Errorf("id: the lease or the mark ends before now: %w", ErrNoWorker)
	errEnded      = fmt.Errorf("id: the worker number was given up: %w", ErrNoWorker)
)

func (g *Generator) noWorker(err error) error {
	g.stats.workerRefusals.Add(1)
	if errors.Is(err, ErrNoWorker) {
		return err
	}
	return fmt.Errorf("id: %w: %w", ErrNoWorker, err)
}

// behind waits for a clock that went back by ms, or refuses.
func (g *Generator) behind(ctx context.Context, ms int64) error {
	if ms > g.stepMax {
		g.stats.clockRefusals.Add(1)
		return &ClockError{Behind: time.Duration(ms) * time.Millisecond}
	}
	g.stats.steps.Add(1)
	return g.pause(ctx, time.Duration(ms)*time.Millisecond)
}

// adopt makes a term the present one.
func (g *Generator) adopt(t *Term) (*holding, error) {
	g.adopting.Lock()
	defer g.adopting.Unlock()
	old := g.present.Load()
	if old != nil && old.term == t {
		return old, nil
	}
	if t.number < 0 || t.number>>g.layout.WorkerBits != 0 {
		return nil, rangeError("worker", t.number, g.layout.WorkerBits)
	}
	if t.ended.Load() { // this goroutine has been slow: there is another one, or none
		return nil, g.noWorker(errEnded)
	}
	if !t.owner.CompareAndSwap(nil, g) {
		return nil, ErrShared
	}
	if old != nil {
		old.term.End()
	}
	h := &holding{
		term: t, worker: uint64(t.number) << g.layout.SequenceBits,
		slots: make([]slot, 1<<(g.layout.ShardBits+g.layout.TableBits)),
	}
	g.present.Store(h)
	return h, nil
}

// pause waits for d, or until ctx ends. Less than a millisecond is spent by letting others run: a timer of an idle
// process comes up to a millisecond late, which would cost every second millisecond of a table in demand.
func pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("id: waiting for the clock: %w", err)
	}
	if d < time.Millisecond {
		runtime.Gosched()
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("id: waiting for the clock: %w", ctx.Err())
	}
}

// Stats are counts since New.
type Stats struct {
	Worker         int       // the present number; -1: none was had yet
	Latest         time.Time // no id is later; zero: none was made
	Waits          uint64    // for the next millisecond, because the sequence was used up
	ClockWaits     uint64    // for a clock that went back a little
	ClockRefusals  uint64    // because it went back more than StepMax
	WorkerRefusals uint64    // for lack of a worker number
}

// Stats returns the counts. It is cheap.
func (g *Generator) Stats() Stats {
	s := Stats{
		Worker: -1, Waits: g.stats.waits.Load(), ClockWaits: g.stats.steps.Load(),
		ClockRefusals: g.stats.clockRefusals.Load(), WorkerRefusals: g.stats.workerRefusals.Load(),
	}
	if h := g.present.Load(); h != nil {
		s.Worker = h.term.number
		if seen := h.term.seen.Load(); seen > h.term.after+1 {
			s.Latest = time.UnixMilli(seen)
		}
	}
	return s
}
