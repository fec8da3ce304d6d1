package split

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/canary"
	shares "github.com/yumen-io/yumen/policy/split"
)

// Kept is what of a split outlives the process: weights that were set, and where its canary is. It can be written as JSON, and
// read back.
//
// It says what it was for, and a document that has come since is looked at as one that comes while a process runs: with other
// variants or weights, what was set is forgotten; with other clusters too, a canary begins anew.
type Kept struct {
	// Set are weights that were set, the newest first; none: those of the document.
	Set     []KeptWeights `json:"set,omitempty"`
	Changed time.Time     `json:"changed,omitzero"` // when weights were set or taken back last
	Canary  *KeptCanary   `json:"canary,omitempty"`
}

// KeptWeights is one change of weights.
type KeptWeights struct {
	For     string    `json:"for"` // the document's variants and weights
	Weights []float64 `json:"weights"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// KeptCanary is where a canary is.
type KeptCanary struct {
	For    string         `json:"for"` // variants, weights and clusters
	Shadow bool           `json:"shadow,omitempty"`
	Plan   core.Plan      `json:"plan"` // as the document said it
	Judge  core.Kept      `json:"judge"`
	Owns   Ownership      `json:"weights"` // whose the newest weights are
	Past   []CanaryRecord `json:"transitions"`
}

// Ownership tells whether a judge knows of the weights that are in force.
type Ownership string

// Ownerships.
const (
	OwnsNewest   Ownership = "judged"   // those that the judge has seen last
	OwnsDocument Ownership = "document" // the judge has seen those of the document
	OwnsOlder    Ownership = "set"      // somebody set them since the judge looked, and it will stop
)

// recordsKept is how many transitions of a canary are kept, each some 1.5 kB: what `yumen split` shows.
const recordsKept = 10

// Keep writes down what is to outlive the process; nil if there is nothing. From any goroutine.
func (f *Filter) Keep(now mono.Time) *Kept {
	s := f.state
	t := &s.trial
	t.mu.Lock() // before the weights are looked at, so that the judge does not set them between
	defer t.mu.Unlock()
	set := f.valid(s.set.Load())
	k := &Kept{}
	for o := set; o != nil; o = o.before {
		k.Set = append(k.Set, KeptWeights{For: o.base, Weights: slices.Clone(o.weights), By: o.by, At: o.at})
	}
	if at := s.changed.Load(); at != nil {
		k.Changed = *at
	}
	if c := f.canary; c != nil && t.judge != nil && t.of == c.of {
		on, against := f.variants[c.at].judged.sample(), f.variants[c.baseline].judged.sample()
		k.Canary = &KeptCanary{For: t.of, Shadow: t.canary.Shadow, Plan: t.plan, Judge: t.judge.Keep(now, &on, &against), Owns: OwnsOlder,
			Past: slices.Clone(t.records[max(0, len(t.records)-recordsKept):])}
		switch t.set {
		case set:
			k.Canary.Owns = OwnsNewest
		case nil:
			k.Canary.Owns = OwnsDocument
		}
	}
	if k.Set == nil && k.Canary == nil && k.Changed.IsZero() {
		return nil
	}
	return k
}

// Restored tells what was taken back of a Kept, and why not all.
type Restored struct {
	Weights bool   // that were set are in force
	Canary  bool   // it goes on
	Left    string // what was not taken, and why; empty: nothing was left
}

// errOtherSplit and errOtherCanary are why something is left.
var (
	errOtherSplit  = errors.New("the document has other variants or weights since")
	errOtherCanary = errors.New("the document has another canary, or other clusters, since")
)

// Restore takes back what was kept. It is for a filter that has had no request yet. What does not fit the document, or cannot
// be, is left. From any goroutine.
func (f *Filter) Restore(k *Kept, now mono.Time) (r Restored) {
	s := f.state
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !k.Changed.IsZero() {
		at := k.Changed
		s.changed.Store(&at)
	}
	set, err := f.restoreWeights(k.Set)
	if err != nil {
		r.Left = fmt.Sprintf("the weights %s: %v", k.Set[0].text(), err)
	}
	if set != nil {
		s.set.Store(set)
		r.Weights = true
	}
	if k.Canary == nil || f.canary == nil {
		return r
	}
	if err == nil {
		err = f.restoreCanary(k.Canary, set, now)
	}
	if err != nil {
		if r.Left != "" {
			r.Left += "; "
		}
		r.Left += "where the canary was (" + k.Canary.Judge.State + "): " + err.Error()
		return r
	}
	r.Canary = true
	return r
}

func (k *KeptWeights) text() string {
	var list []string
	for _, w := range k.Weights {
		list = append(list, Percent(w))
	}
	return fmt.Sprint(list)
}

// restoreWeights makes the list of overrides again.
func (f *Filter) restoreWeights(kept []KeptWeights) (set *override, err error) {
	if len(kept) > backMax {
		return nil, fmt.Errorf("there are %d changes, and at most %d are kept", len(kept), backMax)
	}
	for i := len(kept) - 1; i >= 0; i-- {
		k := &kept[i]
		if k.For != f.base {
			return nil, errOtherSplit
		}
		if len(k.Weights) != len(f.variants) || len(k.By) > byBytesMax {
			return nil, errors.New("they cannot be")
		}
		if err := f.check(k.Weights); err != nil {
			return nil, err
		}
		set = &override{base: f.base, weights: slices.Clone(k.Weights), by: k.By, at: k.At, before: set, depth: len(kept) - 1 - i}
	}
	return set, nil
}

// check tells whether weights are shares that sum up to one, so that a table can be made of them.
func (f *Filter) check(weights []float64) error {
	for _, w := range weights {
		if !(w >= 0 && w <= 1) { // Unsaid among them, which Set would take
			return fmt.Errorf("%v is no weight", w)
		}
	}
	_, err := shares.Set(weights, nil, nil)
	return err
}

// byBytesMax bounds the words for who set weights: they are ours.
const byBytesMax = 100

// restoreCanary makes the trial again.
func (f *Filter) restoreCanary(k *KeptCanary, set *override, now mono.Time) error {
	c, t := f.canary, &f.state.trial
	if k.For != c.of || k.Shadow != c.Shadow {
		return errOtherCanary
	}
	on, against := f.variants[c.at].judged.sample(), f.variants[c.baseline].judged.sample()
	judge, err := core.Resume(&k.Judge, now, &on, &against)
	if err != nil {
		return err
	}
	t.judge, t.of, t.plan, t.canary = judge, k.For, k.Plan, c
	switch k.Owns {
	case OwnsNewest:
		t.set = set
	case OwnsDocument:
		t.set = nil
	default:
		t.set = new(override) // which is not the newest: the judge stops
	}
	t.records = slices.Clone(k.Past[max(0, len(k.Past)-recordsKept):])
	return nil
}

// Version changes when something changes that is to outlive the process at once: weights that are set or taken back, and a
// canary that comes to another step or state. From any goroutine.
func (f *Filter) Version() uint64 { return f.state.version.Load() }

// Watched tells whether there is evidence that grows with each request. From any goroutine.
func (f *Filter) Watched() bool {
	t := &f.state.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	return f.canary != nil && t.judge != nil && t.judge.State() == core.Running
}
