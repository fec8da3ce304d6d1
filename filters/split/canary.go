package split

import (
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/canary"
)

// Canary is what a document says of a variant whose weight goes up by itself.
type Canary struct {
	Variant  string
	Baseline string // empty: the first of the others
	Plan     core.Plan
	Shadow   bool // judged, logged, and no weights are set
}

// canary is a compiled Canary. Frozen.
type canary struct {
	Canary
	at, baseline int    // places of both
	of           string // what makes it the same canary in another document
}

func (f *Filter) compileCanary(s *Canary) []Problem {
	if s == nil {
		return nil
	}
	c := &canary{Canary: *s, at: f.place(s.Variant)}
	if c.at < 0 {
		return []Problem{{"canary.variant", fmt.Sprintf("there is no variant %q", s.Variant), ""}}
	}
	if c.Baseline == "" {
		other := 0
		if c.at == 0 {
			other = 1
		}
		c.Baseline = f.variants[other].name
	}
	switch c.baseline = f.place(c.Baseline); c.baseline {
	case -1:
		return []Problem{{"canary.baseline", fmt.Sprintf("there is no variant %q", c.Baseline), ""}}
	case c.at:
		return []Problem{{"canary.baseline", "the canary is compared with itself", "name another variant"}}
	}
	c.of = fmt.Sprintf("%s %s vs %s", f.base, c.Variant, c.Baseline)
	for i := range f.variants {
		c.of += " " + f.variants[i].cluster.Name
	}
	f.canary = c
	return nil
}

// judged returns where the requests of a variant are counted that its canary is judged by: those that the weights
// decided on. Whoever is in a variant by a rule is somebody else than those who are in the others.
func judged(memory *gateway.Recollection, split, variant string) *counts {
	return gateway.Recall(memory, "split_judged/"+variant+"/"+split, func() *counts { return new(counts) })
}

// addJudged counts an exchange that has ended. Latency is of those that were no errors (canary.Sample).
func (c *counts) addJudged(loop int, o *gateway.Outcome) {
	counted, failed := speaksOf(o)
	if !counted {
		return
	}
	at := c.on(loop)
	at.requests.Add(1)
	if failed {
		at.errors.Add(1)
		return
	}
	took := o.FirstByte
	if took < 0 {
		took = o.Took
	}
	at.latency[bucketOf(took)].Add(1)
}

func (c *counts) sample() core.Sample {
	t := c.totals()
	return core.Sample{Requests: t.Requests, Errors: t.Errors, Latency: t.Latency.counts}
}

// trial is the canary of a State, from its first step to its end. Its lock is held by Tick and by those who ask.
type trial struct {
	mu     sync.Mutex
	judge  *core.Judge // nil: there is none
	of     string
	canary *canary
	plan   core.Plan // as the document says it
	set    *override // what the judge set last

	records []CanaryRecord // the newest last
}

// recordsMax is how many transitions are kept: a canary of five steps has six, and some more if it is tried again.
const recordsMax = 100

// CanaryBy is who sets the weights of a canary, for those who look.
const CanaryBy = "the judge of the canary"

// Tick is for gateway.Ticking: it judges the canary of the filter in force, if that has one, and sets the weights.
func (s *State) Tick(now mono.Time, wall time.Time) {
	f := s.InForce()
	if f == nil {
		return
	}
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	c := f.canary
	if c == nil {
		t.judge, t.canary = nil, nil
		return
	}
	canary, baseline := f.variants[c.at].judged.sample(), f.variants[c.baseline].judged.sample()
	set := f.valid(s.set.Load())
	if t.judge == nil || t.of != c.of || t.canary.Shadow != c.Shadow || !c.Shadow && set == nil && t.set != nil {
		// A new one, or the document's weights are back by an operator's word: from the beginning.
		judge, begun := core.Begin(c.Plan, now, &canary, &baseline)
		t.judge, t.of, t.plan, t.set, t.canary = judge, c.of, c.Plan, set, c
		t.carryOut(f, begun, wall)
		return
	}
	t.canary = c
	if !reflect.DeepEqual(t.plan, c.Plan) {
		t.plan = c.Plan
		if tr, ok := t.judge.Replan(c.Plan, now, &canary, &baseline); ok {
			t.carryOut(f, tr, wall)
			return
		}
	}
	if !c.Shadow && set != t.set {
		t.set = set
		if tr, ok := t.judge.Stop(now, &canary, &baseline); ok {
			t.record(f, tr, wall)
		}
		return
	}
	if tr, ok := t.judge.Look(now, &canary, &baseline); ok {
		t.carryOut(f, tr, wall)
	}
}

// carryOut sets the weight that a transition leads to.
func (t *trial) carryOut(f *Filter, tr core.Transition, wall time.Time) {
	if !t.canary.Shadow && (tr.Weight != tr.Before || tr.Cause == core.Began) {
		before := t.set
		o, err := f.setWeights(map[string]float64{t.canary.Variant: tr.Weight}, CanaryBy, wall, func(now *override) bool { return now == before })
		if err == nil {
			t.set = o
		} // else an operator was a moment earlier, and the next tick stops the judge
	}
	t.record(f, tr, wall)
}

// CanaryRecord is one change of a canary, and its numbers. Shares are from 0 to 1, latencies in milliseconds, upper
// bounds that are a fifth too high at most.
type CanaryRecord struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Cause  string    `json:"cause"`
	Text   string    `json:"text"` // all of it in a sentence
	Step   int       `json:"step"` // counted from 1
	Before string    `json:"weight_before"`
	Weight string    `json:"weight"`
	Took   float64   `json:"took_s"` // of the step
	Shadow bool      `json:"shadow,omitempty"`

	ErrorsChance  float64 `json:"errors_chance"` // always-valid p-values
	LatencyChance float64 `json:"latency_chance"`
	Limit         float64 `json:"limit"` // below which it is rolled back

	OnStep Compared `json:"on_step"` // the step that ended
	Whole  Compared `json:"whole"`   // since the canary began
}

// Compared is a canary beside its baseline. Latency is of requests that were no errors.
type Compared struct {
	Canary   ComparedVariant `json:"canary"`
	Baseline ComparedVariant `json:"baseline"`
}

// ComparedVariant is what was seen of one of them.
type ComparedVariant struct {
	Requests   uint64  `json:"requests"`
	ErrorRatio float64 `json:"error_ratio"`
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
}

func compared(n *core.Numbers) Compared {
	ms := func(d time.Duration) float64 {
		if d == math.MaxInt64 { // beyond the last bucket but one
			d = core.Bound(core.Buckets - 2)
		}
		return float64(d.Microseconds()) / 1000
	}
	return Compared{
		ComparedVariant{n.CanaryRequests, n.CanaryErrors, ms(n.CanaryP50), ms(n.CanaryP95), ms(n.CanaryP99)},
		ComparedVariant{n.BaselineRequests, n.BaselineErrors, ms(n.BaselineP50), ms(n.BaselineP95), ms(n.BaselineP99)}}
}

func (t *trial) record(f *Filter, tr core.Transition, wall time.Time) {
	r := CanaryRecord{At: wall, From: tr.From.String(), To: tr.To.String(), Cause: tr.Cause.String(), Step: tr.Step + 1,
		Before: Percent(tr.Before), Weight: Percent(tr.Weight), Took: tr.Took.Seconds(), Shadow: t.canary.Shadow,
		ErrorsChance: tr.Evidence.ErrorsChance, LatencyChance: tr.Evidence.LatencyChance, Limit: tr.Evidence.Limit,
		OnStep: compared(&tr.OnStep), Whole: compared(&tr.Whole)}
	r.Text = t.canary.tell(&tr, &r)
	if len(t.records) == recordsMax {
		t.records = append(t.records[:0], t.records[1:]...)
	}
	t.records = append(t.records, r)
	f.state.version.Add(1)
	attrs := []any{"split", f.state.name, "variant", t.canary.Variant, "from", r.From, "to", r.To, "cause", r.Cause, "weight", r.Weight,
		"why", r.Text}
	if r.Shadow {
		attrs = append(attrs, "mode", "shadow")
	}
	switch tr.Cause {
	case core.MoreErrors, core.Slower:
		slog.Warn("a canary was rolled back", attrs...)
	case core.Inconclusive:
		slog.Warn("a canary stays where it is for longer than it may", attrs...)
	default:
		slog.Info("a canary has changed its state", attrs...)
	}
}

// tell puts a transition into a sentence.
func (c *canary) tell(t *core.Transition, r *CanaryRecord) string {
	w := &r.Whole
	errors := fmt.Sprintf("%s of %d requests failed on %s, %s of %d on %s", ratioText(w.Canary.ErrorRatio), w.Canary.Requests, c.Variant,
		ratioText(w.Baseline.ErrorRatio), w.Baseline.Requests, c.Baseline)
	latency := fmt.Sprintf("p50/p95/p99 were %s on %s (%d requests), %s on %s (%d)", quantilesText(&w.Canary), c.Variant, w.Canary.Requests,
		quantilesText(&w.Baseline), c.Baseline, w.Baseline.Requests)
	surely := func(chance float64) string {
		return fmt.Sprintf("the like of it by chance has a probability of %.2g, and the limit is %g", chance, t.Evidence.Limit)
	}
	switch t.Cause {
	case core.MoreErrors:
		return fmt.Sprintf("rolled back from %s: %s; %s more are tolerated; %s", r.Before, errors, ratioText(t.Tolerances[0]), surely(r.ErrorsChance))
	case core.Slower:
		return fmt.Sprintf("rolled back from %s: %s; %s more are tolerated; %s", r.Before, latency, ratioText(t.Tolerances[1]), surely(r.LatencyChance))
	case core.StepPassed, core.LastPassed:
		return fmt.Sprintf("from %s to %s after %v: %s; %s", r.Before, r.Weight, t.Took.Round(100*time.Millisecond), errors, latency)
	case core.Inconclusive:
		return fmt.Sprintf("at %s for %v: %s", r.Weight, t.Took.Round(time.Second), waits[t.DoubtIs])
	case core.Ordered:
		return "stopped at " + r.Before + ": an operator has set weights"
	case core.Replanned:
		return fmt.Sprintf("from %s to %s: the document has other steps", r.Before, r.Weight)
	}
	return "begun at " + r.Weight
}

// waits says for what a step waits.
var waits = map[core.Cause]string{
	core.TimeLeft:       "its time is not over",
	core.RequestsLeft:   "it has not had enough requests",
	core.BaselineLeft:   "the baseline has no requests to compare with",
	core.ErrorsDoubted:  "it may have more errors than the baseline, and that is not certain",
	core.LatencyDoubted: "it may be slower than the baseline, and that is not certain",
	core.Settled:        "it is decided",
}

// ratioText writes a share to two digits that count.
func ratioText(share float64) string {
	if share == 0 || share >= 0.1 {
		return fmt.Sprintf("%.4g%%", math.Round(share*1000)/10)
	}
	return fmt.Sprintf("%.2g%%", 100*share)
}

func quantilesText(v *ComparedVariant) string { return fmt.Sprintf("%g/%g/%g ms", v.P50, v.P95, v.P99) }

// CanaryStatus is how a canary is now.
type CanaryStatus struct {
	Variant  string `json:"variant"`
	Baseline string `json:"baseline"`
	State    string `json:"state"`
	Shadow   bool   `json:"shadow,omitempty"`
	Step     int    `json:"step"` // counted from 1
	Steps    int    `json:"steps"`
	Weight   string `json:"weight"`
	Waiting  string `json:"waiting"` // for what, as a word
	Why      string `json:"why"`     // the last transition

	ErrorsChance  float64 `json:"errors_chance"`
	LatencyChance float64 `json:"latency_chance"`
	Limit         float64 `json:"limit"`

	OnStep      Compared       `json:"on_step"`
	Whole       Compared       `json:"whole"`
	Transitions []CanaryRecord `json:"transitions"` // the newest last
}

// Canary tells how the split's canary is; nil if it has none. From any goroutine.
func (f *Filter) Canary() *CanaryStatus {
	t := &f.state.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.canary == nil || t.judge == nil {
		return nil
	}
	c, j := t.canary, t.judge
	canary, baseline := f.variants[f.canary.at].judged.sample(), f.variants[f.canary.baseline].judged.sample()
	step, of := j.Step()
	e := j.Evidence()
	onStep, whole := j.Numbers(&canary, &baseline)
	out := &CanaryStatus{Variant: c.Variant, Baseline: c.Baseline, State: j.State().String(), Shadow: c.Shadow, Step: step + 1, Steps: of,
		Weight: Percent(j.Weight()), Waiting: j.Cause().String(), ErrorsChance: e.ErrorsChance, LatencyChance: e.LatencyChance, Limit: e.Limit,
		OnStep: compared(&onStep), Whole: compared(&whole), Transitions: append([]CanaryRecord(nil), t.records...)}
	if n := len(t.records); n > 0 {
		out.Why = t.records[n-1].Text
	}
	return out
}

// String says what the canary is to do.
func (c *canary) String() string {
	var steps []string
	p := c.Plan.Filled()
	for _, w := range p.Steps {
		steps = append(steps, Percent(w))
	}
	text := fmt.Sprintf("%s goes %s, %v and %d requests each, while it is no worse than %s by %s of errors and %s of latency", c.Variant,
		strings.Join(steps, ", "), p.StepTime, p.StepRequests, c.Baseline, ratioText(p.Errors), ratioText(p.Latency))
	if c.Shadow {
		text += " (shadow)"
	}
	return text
}
