package split

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// written is what a restart finds of a filter.
func written(t *testing.T, f *Filter, now mono.Time) *Kept {
	t.Helper()
	text, err := json.Marshal(f.Keep(now))
	if err != nil {
		t.Fatal(err)
	}
	k := new(Kept)
	if err := json.Unmarshal(text, k); err != nil {
		t.Fatal(err)
	}
	return k
}

// restart ends the process, and begins another with a document.
func (b *bed) restart(s Spec) Restored {
	b.t.Helper()
	k := written(b.t, b.f, b.now)
	b.memory, b.last, b.now = gateway.NewMemory(), nil, mono.Time(time.Second)
	r := b.memory.Recollect()
	b.f = compiled(b.t, s, r)
	r.Hold()
	b.last = r
	got := b.f.Restore(k, b.now)
	b.f.state.follow(b.f) // its first request
	b.tick()
	return got
}

// What an operator set is there after a restart, with all that can be undone.
func TestWeightsOutliveTheProcess(t *testing.T) {
	b := &bed{t: t, memory: gateway.NewMemory()}
	b.load(two(0.05))
	if b.f.Keep(0) != nil {
		t.Error("there is something of nothing")
	}
	b.order(0.5)
	b.order(1)
	if r := b.restart(two(0.05)); !r.Weights || r.Left != "" {
		t.Errorf("%+v", r)
	}
	want(t, b.f, "stable=0% canary=100% ann")
	for _, back := range []string{"stable=50% canary=50% ann", "stable=95% canary=5%"} {
		if err := b.f.Back(time.Unix(7, 0)); err != nil {
			t.Fatal(err)
		}
		want(t, b.f, back)
	}
	b.restart(two(0.05))
	want(t, b.f, "stable=95% canary=5%")
	if at := b.f.Weights().At; !at.Equal(time.Unix(7, 0)) {
		t.Errorf("the document's weights are back since %v", at)
	}
}

// A document that has come since is as one that comes while a process runs.
func TestTheDocumentHasChangedSince(t *testing.T) {
	three := two(0.05)
	three.Variants = append(three.Variants, Variant{Name: "third", Weight: 0})
	renamed := two(0.05)
	renamed.Variants[1].Name = "green"
	elsewhere := two(0.05)
	elsewhere.Variants[1].Cluster.Name = "elsewhere"
	salted := two(0.05)
	salted.Salt = "other"
	for _, c := range []struct {
		name string
		s    Spec
		want string
	}{
		{"the same", two(0.05), "stable=0% canary=100% ann"},
		{"another weight", two(0.1), "stable=90% canary=10%"},
		{"another variant", three, "stable=95% canary=5% third=0%"},
		{"another name", renamed, "stable=95% green=5%"},
		{"another cluster", elsewhere, "stable=0% canary=100% ann"},
		{"another salt", salted, "stable=0% canary=100% ann"},
	} {
		b := &bed{t: t, memory: gateway.NewMemory()}
		b.load(two(0.05))
		b.order(1)
		r := b.restart(c.s)
		want(t, b.f, c.want)
		if kept := strings.HasSuffix(c.want, "ann"); r.Weights != kept || kept != (r.Left == "") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// A canary goes on where it was: rolled back, on its step, done, or stopped by an operator whom the judge has not met yet.
func TestACanaryOutlivesTheProcess(t *testing.T) {
	for _, c := range []struct {
		name   string
		live   func(b *bed)
		before string
		after  func(b *bed)
		then   string
	}{
		{"rolled back", func(b *bed) { b.live(6, 0).live(10, 20) }, "began step_passed more_errors rolled_back 0%",
			func(b *bed) { b.live(20, 0) }, "began step_passed more_errors rolled_back 0%"},
		{"on a step", func(b *bed) { b.live(6, 0).live(3, 0) }, "began step_passed running 50%",
			func(b *bed) { b.live(3, 0) }, "began step_passed last_passed done 100%"},
		{"on a step, and is worse", func(b *bed) { b.live(6, 0) }, "began step_passed running 50%",
			func(b *bed) { b.live(10, 20) }, "began step_passed more_errors rolled_back 0%"},
		{"done", func(b *bed) { b.live(12, 0) }, "began step_passed last_passed done 100%",
			func(b *bed) { b.live(20, 50) }, "began step_passed last_passed done 100%"},
		{"stopped", func(b *bed) { b.live(1, 0); b.order(0.3) }, "began ordered stopped 30%",
			func(b *bed) { b.live(20, 50) }, "began ordered stopped 30%"},
		{"begun anew", func(b *bed) { b.live(6, 0).live(10, 20); b.f.Reset(time.Time{}); b.tick() }, "began step_passed more_errors began running 5%",
			func(b *bed) { b.live(1, 0) }, "began step_passed more_errors began running 5%"},
	} {
		b := canaryBed(t)
		c.live(b)
		b.want(c.before)
		if r := b.restart(canarySpec()); !r.Canary || r.Left != "" {
			t.Errorf("%s: %+v", c.name, r)
		}
		b.want(c.before)
		c.after(b)
		if b.want(c.then); t.Failed() {
			t.Fatal(c.name)
		}
	}
}

// An order and a kill in one moment: the judge of the next process hears of the order.
func TestAnOrderThatTheJudgeHasNotMet(t *testing.T) {
	b := canaryBed(t).live(1, 0)
	if err := b.f.SetWeights(map[string]float64{"canary": 0.3}, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	b.restart(canarySpec())
	b.want("began ordered stopped 30%")
	b = canaryBed(t).live(1, 0)
	b.f.Reset(time.Time{})
	b.restart(canarySpec())
	b.want("began began running 5%")
}

// Other steps go on from the weight, other clusters, or another mode, from the beginning.
func TestACanaryWhoseDocumentHasChangedSince(t *testing.T) {
	steps, elsewhere, shadow, none := canarySpec(), canarySpec(), canarySpec(), canarySpec()
	steps.Canary.Plan.Steps = []float64{0.01, 0.2, 0.4, 0.6}
	elsewhere.Variants[1].Cluster.Name = "elsewhere"
	shadow.Canary.Shadow = true
	none.Canary = nil
	for _, c := range []struct {
		name string
		s    Spec
		want string
		kept bool
	}{
		{"other steps", steps, "began step_passed replanned running 40%", true},
		{"another cluster", elsewhere, "began running 5%", false},
		{"another mode", shadow, "began running 50%", false},
	} {
		b := canaryBed(t).live(6, 0)
		if r := b.restart(c.s); r.Canary != c.kept || !r.Weights || c.kept != (r.Left == "") {
			t.Errorf("%s: %+v", c.name, r)
		}
		if b.want(c.want); t.Failed() {
			t.Fatal(c.name)
		}
	}
	b := canaryBed(t).live(6, 0)
	if r := b.restart(none); r.Canary || !r.Weights || b.f.Canary() != nil || Percent(b.f.Weights().Weights[1]) != "50%" {
		t.Errorf("without a canary: %+v", r)
	}
}

// What cannot be is left, and the rest is taken.
func TestBrokenKeptIsLeft(t *testing.T) {
	for name, spoil := range map[string]func(k *Kept){
		"too few weights":      func(k *Kept) { k.Set[0].Weights = []float64{1} },
		"more than all":        func(k *Kept) { k.Set[0].Weights = []float64{1, 1} },
		"less than all":        func(k *Kept) { k.Set[0].Weights = []float64{0.1, 0.1} },
		"less than nothing":    func(k *Kept) { k.Set[0].Weights = []float64{-1, 1} },
		"no number":            func(k *Kept) { k.Set[0].Weights = []float64{math.NaN(), 1} },
		"too many":             func(k *Kept) { k.Set = make([]KeptWeights, backMax+1) },
		"a long word":          func(k *Kept) { k.Set[0].By = strings.Repeat("x", byBytesMax+1) },
		"a canary in no state": func(k *Kept) { k.Canary.Judge.State = "" },
	} {
		b := canaryBed(t).live(6, 0)
		k := written(t, b.f, b.now)
		spoil(k)
		f := compiled(t, canarySpec(), nil)
		r := f.Restore(k, 0)
		if r.Canary || r.Left == "" || r.Weights != strings.HasPrefix(name, "a canary") {
			t.Errorf("%s: %+v", name, r)
		}
		f.current()
	}
}

// split_kept_transitions: the file of a canary that is begun anew again and again does not grow.
func TestKeptTransitionsAreBounded(t *testing.T) {
	b := canaryBed(t)
	for range 5 * recordsKept {
		b.order(0.3)
		b.f.Reset(time.Time{})
		b.tick()
	}
	text, err := json.Marshal(b.f.Keep(b.now))
	if err != nil || len(b.f.Keep(b.now).Canary.Past) != recordsKept || len(text) > 64<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// FuzzRestore: whatever a file says, nothing panics, and what is in force are shares.
func FuzzRestore(f *testing.F) {
	b := canaryBed(&testing.T{}).live(6, 0)
	text, err := json.Marshal(b.f.Keep(b.now))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"set":[{"for":"stable=1,canary=0,","weights":[0.5,0.5]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var k Kept
		if json.Unmarshal(text, &k) != nil {
			return
		}
		b := &bed{t: t, memory: gateway.NewMemory()}
		b.load(canarySpec())
		b.f.Restore(&k, 0)
		b.live(3, 5)
		sum := 0.0
		for _, w := range b.f.Weights().Weights {
			sum += w
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("the weights sum up to %v", sum)
		}
	})
}
