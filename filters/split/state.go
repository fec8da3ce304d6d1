package split

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	core "github.com/yumen-io/yumen/policy/split"
)

// State is what of a split outlives configurations: which filter is in force, and the weights that were set beside the document's.
type State struct {
	name     string
	compiled atomic.Uint64 // filters made so far; those of documents that were only looked at too

	// Published.
	inForce atomic.Pointer[Filter]
	set     atomic.Pointer[override]  // nil: the document's weights
	changed atomic.Pointer[time.Time] // when weights were set or taken back; nil: never
	version atomic.Uint64             // see Filter.Version

	trial trial // the canary, if there is one

	mu sync.Mutex // held by those who change either; never by a loop but for the first request of a configuration
}

// override is weights that were set. Frozen.
type override struct {
	base    string // the document's variants and weights, beside which they were set
	weights []float64
	by      string
	at      time.Time
	before  *override // nil: the document's
	depth   int       // how many there are before it
}

// backMax bounds how many changes of weights can be undone, one by one: a canary that is raised in steps of 5 % is there in twenty.
const backMax = 32

// ErrNothingBefore is returned by Back where the weights are the document's.
var ErrNothingBefore = errors.New("the weights are those of the document: there is nothing to go back to")

// Start is for gateway.Remembered.
func (s *State) Start() {}

// Close is for gateway.Remembered.
func (s *State) Close() {}

// InForce returns the filter that serves requests; nil before the first one.
func (s *State) InForce() *Filter { return s.inForce.Load() }

// follow is called with each request's filter. The first request of a newer one than before puts it into force; then weights that
// were set beside other weights of the document's are forgotten, for good: that a rollback brings the old document back is no reason to bring
// them back.
func (s *State) follow(f *Filter) {
	now := s.inForce.Load()
	if now == f || now != nil && now.number > f.number { // a request that waited while the configuration changed
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now = s.inForce.Load(); now != nil && now.number > f.number {
		return
	}
	s.inForce.Store(f)
	if o := s.set.Load(); o != nil && o.base != f.base {
		s.set.Store(nil)
		s.version.Add(1)
	}
}

// Set is weights and who set them.
type Set struct {
	Weights []float64 // shares, from 0 to 1, to the order of Filter.Variants
	By      string    // empty: the document
	At      time.Time // when; of the document's weights, when others were taken back, zero if there never were any
	Before  int       // how many changes can be undone
}

// Weights returns what is in force.
func (f *Filter) Weights() Set {
	now := f.current()
	out := Set{Weights: slices.Clone(now.weights)}
	if now.of != nil && now.of.base == f.base {
		out.By, out.At, out.Before = now.of.by, now.of.at, now.of.depth+1
	} else if at := f.state.changed.Load(); at != nil {
		out.At = *at
	}
	return out
}

// SetWeights sets shares of variants, from 0 to 1, to 0.01 %. Those that are not named share what is left in the proportion they have
// now: so whoever changes sides changes to or from a named one. by is who does it, for those who look later. It is an error if a variant or
// a weight cannot be, and then nothing changes. It holds from the next request on, on all loops, until a document with other variants
// or weights comes into force.
func (f *Filter) SetWeights(weights map[string]float64, by string, at time.Time) error {
	_, err := f.setWeights(weights, by, at, nil)
	return err
}

// errOthers is returned by setWeights if somebody else has set weights meanwhile.
var errOthers = errors.New("somebody else has set weights")

// setWeights sets them if still, which may be nil, says of those that were set last that this is in order, and returns what it has set.
func (f *Filter) setWeights(weights map[string]float64, by string, at time.Time, still func(now *override) bool) (*override, error) {
	said := make([]float64, len(f.variants))
	for i := range said {
		said[i] = core.Unsaid
	}
	for name, w := range weights {
		i := f.place(name)
		if i < 0 {
			return nil, fmt.Errorf("split %q has no variant %q", f.state.name, name)
		}
		if !core.IsStep(w) {
			return nil, fmt.Errorf("the weight of %q is none from 0%% to 100%% in steps of 0.01%%", name)
		}
		said[i] = w
	}
	if len(weights) == 0 {
		return nil, errors.New("no weights are given")
	}
	s := f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	now := f.valid(s.set.Load())
	if still != nil && !still(now) {
		return nil, errOthers
	}
	from := f.usual
	if now != nil {
		from = now.weights
	}
	next, err := core.Set(said, from, f.usual)
	if err != nil {
		return nil, err
	}
	o := &override{base: f.base, weights: next, by: by, at: at, before: now}
	if now != nil {
		o.depth = now.depth + 1
	}
	o = o.bounded()
	s.store(o, at)
	return o, nil
}

// bounded forgets what was set too many changes ago.
func (o *override) bounded() *override {
	if o.depth < backMax {
		return o
	}
	var list []override
	for ; o != nil && len(list) < backMax; o = o.before {
		list = append(list, *o)
	}
	for i := range list {
		list[i].depth, list[i].before = backMax-1-i, nil
		if i+1 < len(list) {
			list[i].before = &list[i+1]
		}
	}
	return &list[0]
}

// store puts weights into force, under the lock.
func (s *State) store(o *override, at time.Time) {
	s.set.Store(o)
	s.changed.Store(&at)
	s.version.Add(1)
}

// Back undoes the last SetWeights. ErrNothingBefore: there is none.
func (f *Filter) Back(at time.Time) error {
	s := f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	now := f.valid(s.set.Load())
	if now == nil {
		return ErrNothingBefore
	}
	s.store(now.before, at)
	return nil
}

// Reset goes back to the weights of the document.
func (f *Filter) Reset(at time.Time) {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	f.state.store(nil, at)
}

// valid returns o if it was set beside this document's weights.
func (f *Filter) valid(o *override) *override {
	if o == nil || o.base != f.base {
		return nil
	}
	return o
}

// setting is what the filter goes by at the moment: its own weights, or those that were set.
type setting struct {
	of      *override // what the State had when this was made
	weights []float64
	table   *core.Table
}

// current returns the setting. It is made anew when the State's weights have changed: by each loop that notices, with the same result.
func (f *Filter) current() *setting {
	o, now := f.state.set.Load(), f.now.Load()
	if now.of == o {
		return now
	}
	next := &setting{of: o, weights: f.usual, table: f.table}
	if v := f.valid(o); v != nil {
		next.weights = v.weights
		next.table = f.tableOf(v.weights)
	}
	f.now.Store(next)
	return next
}
