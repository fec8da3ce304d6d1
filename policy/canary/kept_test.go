package canary

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// restart ends the process: what is written down is read back, counters begin at nothing and the clock somewhere else.
func (b *table) restart(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(b.j.Keep(b.now, &b.canary, &b.baseline))
	if err != nil {
		t.Fatal(err)
	}
	var k Kept
	if err := json.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	b.canary, b.baseline = Sample{}, Sample{}
	b.canary.serve(3, 1, 7) // were there before the judge was
	b.now = mono.Time(time.Second)
	j, err := Resume(&k, b.now, &b.canary, &b.baseline)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b.j = j
}

// One that is restarted after every second comes to the same decisions at the same time, by the same numbers, as one that
// is not.
func TestARestartChangesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		ill  second
	}{
		{"well", usual},
		{"a tenth fails", second{50, 5, 30, 950, 9, 30}},
		{"a few fail", second{50, 2, 30, 950, 9, 30}},
		{"twice as slow", second{50, 0, 34, 950, 9, 30}},
		{"nobody asks", second{0, 0, 0, 950, 9, 30}},
	} {
		one, often := sit(short).live(3, usual), sit(short).live(3, usual)
		for i := range 40 {
			one.live(1, c.ill)
			often.live(1, c.ill)
			if often.want(t, strings.TrimSuffix(one.said.String(), "; ")); t.Failed() {
				t.Fatalf("%s, after %d s", c.name, i)
			}
			a, b := one.j.Evidence(), often.j.Evidence()
			step, whole := one.j.Numbers(&one.canary, &one.baseline)
			stepToo, wholeToo := often.j.Numbers(&often.canary, &often.baseline)
			if math.Abs(a.ErrorsChance-b.ErrorsChance) > 1e-9 || math.Abs(a.LatencyChance-b.LatencyChance) > 1e-9 || step != stepToo || whole != wholeToo ||
				one.j.Cause() != often.j.Cause() || one.last.Took != often.last.Took {
				t.Fatalf("%s, after %d s: %v %v, %+v %+v, %v %v", c.name, i, a, b, whole, wholeToo, one.j.Cause(), often.j.Cause())
			}
			often.restart(t)
		}
	}
}

// What ended stays ended, whatever comes.
func TestWhatEndedStaysEndedOverARestart(t *testing.T) {
	b := sit(short).live(3, usual).live(12, second{50, 5, 30, 950, 9, 30})
	b.restart(t)
	b.live(30, usual).want(t, "began 0%->5% running; more_errors 5%->0% rolled_back")
	if b.j.State() != RolledBack || b.j.Weight() != 0 || b.j.Cause() != Settled {
		t.Errorf("%v %v %v", b.j.State(), b.j.Weight(), b.j.Cause())
	}
}

// What cannot be a judge is none.
func TestBrokenKeptIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(k *Kept){
		"no state":            func(k *Kept) { k.State = "asleep" },
		"a step below":        func(k *Kept) { k.Step = -1 },
		"a step above":        func(k *Kept) { k.Step = 3 },
		"a weight above":      func(k *Kept) { k.Weight = 1.1 },
		"no number":           func(k *Kept) { k.Weight = math.NaN() },
		"steps fall":          func(k *Kept) { k.Plan.Steps = []float64{0.5, 0.1} },
		"many steps":          func(k *Kept) { k.Plan.Steps = make([]float64, StepsMax+1) },
		"no risk":             func(k *Kept) { k.Plan.Risk = 1 },
		"buckets are missing": func(k *Kept) { k.Past.Latency = k.Past.Latency[1:] },
		"bets are missing":    func(k *Kept) { k.Errors.Bets = nil },
		"no cash":             func(k *Kept) { k.Latency.Cash = 0 },
		"a past of all times": func(k *Kept) { k.Past.Requests = math.Inf(1) },
		"from the future":     func(k *Kept) { k.OnStep = -1 },
	} {
		b := sit(short).live(3, usual)
		k := b.j.Keep(b.now, &b.canary, &b.baseline)
		if spoil(&k); k.check(&k.Plan) == nil {
			if _, err := Resume(&k, 0, &Sample{}, &Sample{}); err == nil {
				t.Error(name)
			}
		}
	}
}
