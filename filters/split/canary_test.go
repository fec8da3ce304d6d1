package split

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/canary"
)

// The judge's buckets are the sketch's.
func TestBucketsAreTheJudges(t *testing.T) {
	if SketchBuckets != core.Buckets {
		t.Fatal(core.Buckets)
	}
	for i := range SketchBuckets {
		if Bound(i) != core.Bound(i) {
			t.Errorf("bucket %d: %v and %v", i, Bound(i), core.Bound(i))
		}
	}
}

// bed is where a canary lives: documents, requests and time.
type bed struct {
	t      *testing.T
	memory *gateway.Memory
	last   *gateway.Recollection
	f      *Filter
	now    mono.Time
}

func (b *bed) load(s Spec) {
	b.t.Helper()
	r := b.memory.Recollect()
	b.f = compiled(b.t, s, r)
	r.Hold()
	if b.last != nil {
		b.last.Drop()
	}
	b.last = r
	b.f.state.follow(b.f) // its first request
}

// live passes seconds of a hundred requests to each variant; of the canary's so many fail.
func (b *bed) live(seconds, failing int) *bed {
	good, wrong := outcome{200, 20 * time.Millisecond, ok}.of(), outcome{500, time.Millisecond, bad}.of()
	for range seconds * 10 {
		b.now = b.now.Add(100 * time.Millisecond)
		for i := range 10 {
			loop := i % 3
			b.f.variants[0].judged.addJudged(loop, &good)
			if i == 0 {
				loop = 7
			}
			if 10*failing > 100*i {
				b.f.variants[1].judged.addJudged(loop, &wrong)
			} else {
				b.f.variants[1].judged.addJudged(loop, &good)
			}
		}
		b.tick()
	}
	return b
}

func (b *bed) tick() { b.f.state.Tick(b.now, time.Unix(0, int64(b.now))) }

func (b *bed) order(canary float64) {
	b.t.Helper()
	if err := b.f.SetWeights(map[string]float64{"canary": canary}, "ann", time.Time{}); err != nil {
		b.t.Fatal(err)
	}
	b.tick()
}

// want compares the causes so far, the weight and the state.
func (b *bed) want(want string) {
	b.t.Helper()
	c := b.f.Canary()
	if c == nil {
		b.t.Fatal("there is no canary")
	}
	var got []string
	for _, r := range c.Transitions {
		got = append(got, r.Cause)
	}
	got = append(got, c.State, Percent(b.f.Weights().Weights[1]))
	if text := strings.Join(got, " "); text != want {
		b.t.Errorf("got  %s\nwant %s", text, want)
	}
}

// canarySpec is a canary on steps of five seconds.
func canarySpec() Spec {
	s := two(0)
	s.Canary = &Canary{Variant: "canary", Plan: core.Plan{Steps: []float64{0.05, 0.5, 1}, StepTime: 5 * time.Second, StepRequests: 100}}
	return s
}

func canaryBed(t *testing.T) *bed {
	b := &bed{t: t, memory: gateway.NewMemory()}
	b.load(canarySpec())
	b.tick()
	b.want("began running 5%")
	return b
}

func TestCanaryGoesUp(t *testing.T) {
	b := canaryBed(t).live(6, 0)
	b.want("began step_passed running 50%")
	b.live(6, 0)
	b.want("began step_passed last_passed done 100%")
	b.live(60, 100)
	b.want("began step_passed last_passed done 100%")
	c := b.f.Canary()
	if got, want := c.Transitions[1].Text, "from 5% to 50% after 5s: 0% of 500 requests failed on canary, 0% of 500 on stable; p50/p95/p99 were "; !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if now := b.f.Weights(); now.By != CanaryBy {
		t.Errorf("%+v", now)
	}
}

func TestCanaryIsRolledBack(t *testing.T) {
	b := canaryBed(t).live(6, 0).live(10, 20)
	b.want("began step_passed more_errors rolled_back 0%")
	c := b.f.Canary()
	r := c.Transitions[2]
	if r.Before != "50%" || r.Weight != "0%" || r.ErrorsChance > r.Limit || r.Whole.Canary.Requests < 600 || r.Whole.Canary.ErrorRatio == 0 || c.Why != r.Text {
		t.Errorf("%+v", r)
	}
	for _, part := range []string{"rolled back from 50%: ", " requests failed on canary, 0% of ", "on stable; 0.5% more are tolerated; the like of it by chance has a probability of "} {
		if !strings.Contains(r.Text, part) {
			t.Errorf("%q is not in %s", part, r.Text)
		}
	}
	b.live(60, 0)
	b.want("began step_passed more_errors rolled_back 0%")
}

func TestCanaryAndOperators(t *testing.T) {
	b := canaryBed(t).live(2, 0)
	b.order(0.2)
	b.live(20, 50)
	b.want("began ordered stopped 20%")
	b.f.Reset(time.Time{}) // the document's weights: from the beginning
	b.tick()
	b.want("began ordered began running 5%")
	b.live(6, 0)
	b.want("began ordered began step_passed running 50%")
	if err := b.f.Back(time.Time{}); err != nil {
		t.Fatal(err)
	}
	b.tick()
	b.want("began ordered began step_passed ordered stopped 5%")
}

func TestCanaryOverDocuments(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *Spec)
		want   string
	}{
		{"nothing of the canary", func(s *Spec) { s.Header = "x-variant" }, "began step_passed running 50%"},
		{"other times", func(s *Spec) { s.Canary.Plan.StepTime = time.Hour }, "began step_passed running 50%"},
		{"a step is gone", func(s *Spec) { s.Canary.Plan.Steps = []float64{0.1, 0.2, 1} }, "began step_passed replanned running 20%"},
		{"another cluster", func(s *Spec) { s.Variants[1].Cluster.Name = "newer" }, "began step_passed began running 5%"},
		{"another weight", func(s *Spec) { s.Variants[1].Weight = 0.01 }, "began step_passed began running 5%"},
		{"only to look", func(s *Spec) { s.Canary.Shadow = true }, "began step_passed began running 50%"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := canaryBed(t)
			b.t = t
			b.live(6, 0)
			s := canarySpec()
			c.change(&s)
			b.load(s)
			b.tick()
			b.want(c.want)
		})
	}
	b := canaryBed(t).live(6, 0)
	b.load(two(0))
	b.tick()
	if b.f.Canary() != nil || b.f.Weights().Weights[1] != 0.5 {
		t.Error("a document without a canary")
	}
}

func TestCanaryInShadow(t *testing.T) {
	b := &bed{t: t, memory: gateway.NewMemory()}
	s := canarySpec()
	s.Canary.Shadow, s.Variants[1].Weight = true, 0.03
	b.load(s)
	b.live(7, 0)
	b.want("began step_passed running 3%")
	b.order(0.4)
	b.live(10, 50)
	b.want("began step_passed more_errors rolled_back 40%")
}

// canary_records: the last hundred transitions are kept.
func TestCanaryRecordsAreBounded(t *testing.T) {
	b := canaryBed(t)
	for range recordsMax {
		b.order(0.2)
		b.f.Reset(time.Time{})
		b.tick()
	}
	if list := b.f.Canary().Transitions; len(list) != recordsMax || list[recordsMax-1].Cause != "began" {
		t.Errorf("%d", len(list))
	}
}

// Between a tick's look at the weights and its step an operator has set others.
func TestCanaryDoesNotUndoAnOperator(t *testing.T) {
	b := canaryBed(t).live(2, 0)
	tr := &b.f.state.trial
	if err := b.f.SetWeights(map[string]float64{"canary": 0.2}, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	tr.carryOut(b.f, core.Transition{Before: 0.05, Weight: 0.5, Cause: core.StepPassed}, time.Time{})
	if w := b.f.Weights().Weights[1]; w != 0.2 {
		t.Error(w)
	}
	b.tick()
	b.want("began step_passed ordered stopped 20%")
}

func TestCanariesThatCannotBe(t *testing.T) {
	for _, c := range []struct{ canary, baseline, want string }{
		{"other", "", `canary.variant there is no variant "other"`},
		{"canary", "other", `canary.baseline there is no variant "other"`},
		{"canary", "canary", "canary.baseline the canary is compared with itself"},
	} {
		s := two(0)
		s.Canary = &Canary{Variant: c.canary, Baseline: c.baseline}
		_, problems := Compile(s, "app", nil)
		if len(problems) != 1 || problems[0].Field+" "+problems[0].Cause != c.want {
			t.Errorf("%+v, want %s", problems, c.want)
		}
	}
	s := two(0)
	s.Canary = &Canary{Variant: "stable"}
	if f := compiled(t, s, nil); f.canary.Baseline != "canary" || !strings.Contains(f.String(), "stable goes 1%, 5%, 25%, 50%, 100%, 5m0s and 500 requests each, while it is no worse than canary by 0.5% of errors and 10% of latency") {
		t.Error(f.String())
	}
}

// Nothing of the latency of errors, of clients that left, of answers that are the gateway's own.
func TestWhatTheJudgeCounts(t *testing.T) {
	c := new(counts)
	for _, o := range []outcome{{200, time.Second, ok}, {500, time.Second, bad}, {504, time.Second, unreached}, {499, 1, left}, {429, 1, own}, {200, 1, cached}} {
		g := o.of()
		c.addJudged(1, &g)
	}
	s := c.sample()
	if s.Requests != 3 || s.Errors != 2 || s.Latency.Quantile(1) < time.Second || slices.Max(s.Latency[:]) != 1 {
		t.Errorf("%+v", s)
	}
	g := outcome{200, time.Second, ok}.of()
	if n := testing.AllocsPerRun(100, func() { c.addJudged(1, &g) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRatiosAsPeopleReadThem(t *testing.T) {
	for share, want := range map[float64]string{0: "0%", 0.1: "10%", 0.2344: "23.4%", 1: "100%", 0.031: "3.1%", 0.00123: "0.12%"} {
		if got := ratioText(share); got != want {
			t.Errorf("%v: %s, want %s", share, got, want)
		}
	}
	n := core.Numbers{CanaryP99: math.MaxInt64}
	if c := compared(&n); c.Canary.P99 != float64(core.Bound(core.Buckets-2).Microseconds())/1000 || fmt.Sprint(c.Baseline.P50) != "0" {
		t.Errorf("%+v", c)
	}
}
