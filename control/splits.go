package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/yumen-io/yumen/filters/split"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// SplitStatus is a split of the configuration in force: who gets how much, and what became of it.
type SplitStatus struct {
	Name     string          `json:"name"`
	Variants []VariantStatus `json:"variants"`
	// Source is whose the weights are: "document", "override" of an operator, or "judge" of the canary; Since, from when on.
	Source string    `json:"source"`
	Since  time.Time `json:"since"`
	SetBy  string    `json:"set_by,omitempty"` // who set the weights; empty: the document
	SetAt  time.Time `json:"set_at,omitzero"`
	// NotKept says why a restart would forget what was set; empty: it would not, or nothing was.
	NotKept string `json:"not_kept,omitempty"`
	Before  int    `json:"before"` // how many changes can be undone
	// Canary is the variant whose weight is judged; nil if there is none, or no request has come yet.
	Canary *split.CanaryStatus `json:"canary,omitempty"`
}

// VariantStatus is a variant of a split. Counts are since the process began.
type VariantStatus struct {
	Name     string  `json:"name"`
	Cluster  string  `json:"cluster"`
	Weight   string  `json:"weight"`   // now
	Document string  `json:"document"` // its weight in the document
	Requests uint64  `json:"requests"` // that ended and say something of the variant
	Errors   uint64  `json:"errors"`   // those that were answered with 5xx, or not at all
	P50MS    float64 `json:"p50_ms"`   // to the first byte of the answer; upper bounds, at most a fifth too high
	P99MS    float64 `json:"p99_ms"`
}

// Splits returns the splits of the configuration in force, in the order of the document.
func (c *Controller) Splits() []SplitStatus {
	list := []SplitStatus{}
	for _, f := range c.splits() {
		list = append(list, c.splitStatus(f))
	}
	return list
}

func (c *Controller) splits() []*split.Filter {
	if plan := c.Plan(); plan != nil {
		return plan.Splits
	}
	return nil
}

// Sources of weights.
const (
	fromDocument = "document"
	fromOperator = "override"
	fromJudge    = "judge"
)

func (c *Controller) splitStatus(f *split.Filter) SplitStatus {
	now, usual := f.Weights(), f.Usual()
	s := SplitStatus{Name: f.Name(), Source: fromDocument, Since: now.At, SetBy: now.By, Before: now.Before, Canary: f.Canary()}
	switch now.By {
	case "":
		// In force with the document, or since what was set was taken back.
		if at := c.Current().Time; at.After(s.Since) {
			s.Since = at
		}
	case split.CanaryBy:
		s.Source, s.SetAt = fromJudge, now.At
	default:
		s.Source, s.SetAt = fromOperator, now.At
	}
	if now.By != "" {
		s.NotKept = c.splitsKept.failure()
	}
	for i, name := range f.Variants() {
		ref, _ := f.Cluster(name)
		t, _ := f.Totals(name)
		s.Variants = append(s.Variants, VariantStatus{Name: name, Cluster: ref.Name, Weight: split.Percent(now.Weights[i]), Document: split.Percent(usual[i]),
			Requests: t.Requests, Errors: t.Errors, P50MS: milliseconds(t.Latency.Quantile(0.5)), P99MS: milliseconds(t.Latency.Quantile(0.99))})
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ErrNoSplit is returned for a split that the configuration in force does not have.
var ErrNoSplit = errors.New("no such split")

// SplitOrder is what shall become of a split's weights: exactly one of its fields is set.
type SplitOrder struct {
	Weights  map[string]float64 // shares of variants, from 0 to 1; the others share the rest as they do now
	Back     bool               // undo the last change
	Document bool               // the document's weights
}

// operator is who sets weights by the admin API.
const operator = "an operator"

// OrderSplit changes the weights of a split, at once and on all loops. They last while the document's own weights of the split stay, over upgrades and
// restarts too, and are written down when it returns; the status says if they could not be. ErrNoSplit: there is no such split.
// split.ErrNothingBefore: there is nothing to undo. ErrStopping: another process has taken over, or is about to. Any other error says what is
// wrong with the weights.
func (c *Controller) OrderSplit(name string, o SplitOrder) (SplitStatus, error) {
	k := &c.splitsKept
	k.mu.Lock()
	s, err := c.orderSplit(name, o)
	if err == nil {
		c.keepSplitsLocked()
	}
	k.mu.Unlock()
	if err != nil {
		return SplitStatus{}, err
	}
	return c.splitStatus(s), nil
}

// orderSplit carries an order out, under the lock of what is kept.
func (c *Controller) orderSplit(name string, o SplitOrder) (*split.Filter, error) {
	if c.splitsKept.passed {
		return nil, ErrStopping
	}
	for _, f := range c.splits() {
		if f.Name() != name {
			continue
		}
		var err error
		switch now := time.Now().UTC(); {
		case o.Back:
			err = f.Back(now)
		case o.Document:
			f.Reset(now)
		default:
			err = f.SetWeights(o.Weights, operator, now)
		}
		if err != nil {
			return nil, err
		}
		c.logger.Info("the weights of a split were changed by an operator", "split", name, "weights", f.String(), "back", o.Back, "document", o.Document)
		return f, nil
	}
	return nil, fmt.Errorf("split %q: %w", name, ErrNoSplit)
}

// splitCounts is for a scrape.
func (c *Controller) splitCounts(yield func(metrics.Split) bool) {
	for _, f := range c.splits() {
		if !yield(metrics.Split{Name: f.Name(), Each: f.Each, Weights: func(yield func(variant string, share float64)) {
			now := f.Weights()
			for i, name := range f.Variants() {
				yield(name, now.Weights[i])
			}
		}}) {
			return
		}
	}
}
