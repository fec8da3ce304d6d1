package canary

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// table is a judge with both versions in hand.
type table struct {
	j                *Judge
	now              mono.Time
	canary, baseline Sample
	said             strings.Builder
	last             Transition
}

func (b *table) tell(t Transition, ok bool) {
	if ok {
		b.last = t
		fmt.Fprintf(&b.said, "%s %g%%->%g%% %s; ", t.Cause, 100*t.Before, 100*t.Weight, t.To)
	}
}

// serve adds requests at bucket, in which the time is, and of them so many errors.
func (s *Sample) serve(n, errors, bucket int) {
	s.Requests += uint64(n)
	s.Errors += uint64(errors)
	s.Latency[bucket] += uint64(n - errors)
}

// second is how a second goes for both: requests, errors of them, and the bucket of the others' latency.
type second struct {
	canary, canaryErrors, canaryTook       int
	baseline, baselineErrors, baselineTook int
}

var usual = second{50, 0, 30, 950, 9, 30}

func sit(p Plan) *table {
	b := &table{}
	b.baseline.serve(5000, 50, 30)
	j, t := Begin(p, b.now, &b.canary, &b.baseline)
	b.j = j
	b.tell(t, true)
	return b
}

// live passes seconds.
func (b *table) live(n int, s second) *table {
	for range n {
		for range 10 {
			b.now = b.now.Add(100 * time.Millisecond)
			if b.now%mono.Time(time.Second) == 0 {
				b.canary.serve(s.canary, s.canaryErrors, s.canaryTook)
				b.baseline.serve(s.baseline, s.baselineErrors, s.baselineTook)
			}
			b.tell(b.j.Look(b.now, &b.canary, &b.baseline))
		}
	}
	return b
}

func (b *table) want(t *testing.T, want string) {
	t.Helper()
	if got := strings.TrimSuffix(b.said.String(), "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

var short = Plan{Steps: []float64{0.05, 0.5, 1}, StepTime: 10 * time.Second, StepRequests: 300}

func TestUpTheSteps(t *testing.T) {
	b := sit(short).live(30, usual)
	b.want(t, "began 0%->5% running; step_passed 5%->50% running; last_passed 50%->100% done")
	if n := b.last.OnStep; n.CanaryRequests != 500 || n.BaselineRequests != 9500 || n.BaselineErrors < 0.009 || n.CanaryP95 != Bound(30) {
		t.Errorf("%+v", n)
	}
	if n := b.last.Whole.CanaryRequests; n != 1000 {
		t.Errorf("%d in all", n)
	}
	if b.live(30, second{50, 50, 60, 1, 0, 1}); b.j.Cause() != Settled {
		t.Error("it goes on")
	}
}

func TestALastStepBelowOneIsWatchedToo(t *testing.T) {
	b := sit(Plan{Steps: []float64{0.05, 0.2}, StepTime: 10 * time.Second}).live(15, usual)
	b.want(t, "began 0%->5% running; step_passed 5%->20% running")
	b.live(15, usual)
	b.want(t, "began 0%->5% running; step_passed 5%->20% running; last_passed 20%->20% done")
}

func TestAllAtOnceIsDone(t *testing.T) {
	sit(Plan{Steps: []float64{1}}).live(3, usual).want(t, "began 0%->100% done")
}

func TestRolledBack(t *testing.T) {
	for _, c := range []struct {
		name string
		ill  second
		want string
	}{
		{"a tenth fails", second{50, 5, 30, 950, 9, 30}, "more_errors"},
		{"all fails at once", second{50, 50, 1, 950, 9, 30}, "more_errors"},
		{"twice as slow", second{50, 0, 34, 950, 9, 30}, "slower"},
	} {
		b := sit(short).live(3, usual).live(12, c.ill)
		b.want(t, "began 0%->5% running; "+c.want+" 5%->0% rolled_back")
		if b.last.Took > 12*time.Second || b.last.Whole.CanaryRequests < 200 {
			t.Errorf("%s: %+v", c.name, b.last)
		}
		if e := b.last.Evidence; min(e.ErrorsChance, e.LatencyChance) > e.Limit || e.Limit != DefaultRisk/2 {
			t.Errorf("%s: %+v", c.name, e)
		}
		if b.j.Weight() != 0 {
			t.Errorf("%s: %v", c.name, b.j.Weight())
		}
	}
}

// What hits both says nothing of the canary, and faster is not worse.
func TestNotRolledBack(t *testing.T) {
	for _, c := range []struct {
		name string
		ill  second
	}{
		{"all is down", second{50, 50, 10, 950, 950, 10}},
		{"half fails, and all is slow", second{50, 25, 50, 950, 475, 50}},
		{"the baseline is down", second{50, 0, 30, 950, 950, 10}},
		{"twice as fast", second{50, 0, 26, 950, 9, 30}},
		{"a little slower, in the tolerance", second{50, 0, 30, 950, 9, 30}},
	} {
		b := sit(Plan{Steps: []float64{0.05}, StepTime: time.Hour}).live(20, usual).live(60, c.ill).live(20, usual)
		b.want(t, "began 0%->5% running")
		if e := b.j.Evidence(); e.ErrorsChance < 0.05 || e.LatencyChance < 0.05 {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

// An incident may eat what was bet, but not the judge's sight.
func TestAfterAnIncidentItStillSees(t *testing.T) {
	b := sit(Plan{Steps: []float64{0.05}, StepTime: time.Hour}).live(20, usual).live(120, second{50, 25, 50, 950, 475, 50}).live(20, usual)
	b.live(30, second{50, 5, 30, 950, 9, 30})
	b.want(t, "began 0%->5% running; more_errors 5%->0% rolled_back")
}

// One second, however bad, is not enough.
func TestOneWindowDoesNotDecide(t *testing.T) {
	b := sit(short).live(5, usual).live(1, second{5000, 5000, 80, 950, 9, 30})
	b.want(t, "began 0%->5% running")
	b.live(4, usual)
	if b.j.Cause() != ErrorsDoubted && b.j.Cause() != TimeLeft {
		t.Errorf("%v", b.j.Cause())
	}
}

func TestWhatAStepWaitsFor(t *testing.T) {
	long := short
	long.StepTimeMax = 30 * time.Second
	for _, c := range []struct {
		name    string
		s       second
		seconds int
		want    Cause
		said    string
	}{
		{"for time", usual, 9, TimeLeft, ""},
		{"for requests", second{5, 0, 30, 95, 1, 30}, 20, RequestsLeft, ""},
		{"for requests, too long", second{5, 0, 30, 95, 1, 30}, 31, RequestsLeft, "inconclusive 5%->5% running"},
		{"for requests, and gets them", second{5, 0, 30, 95, 1, 30}, 61, TimeLeft, "inconclusive 5%->5% running; step_passed 5%->50% running"},
		{"for somebody to compare with", second{50, 0, 30, 0, 0, 30}, 20, BaselineLeft, ""},
	} {
		b := sit(long).live(c.seconds, c.s)
		if got := b.j.Cause(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		want := "began 0%->5% running"
		if c.said != "" {
			want += "; " + c.said
		}
		b.want(t, want)
	}
}

// A step up waits until the doubt is gone.
func TestDoubtHolds(t *testing.T) {
	b := sit(Plan{Steps: []float64{0.05, 0.5}, StepTime: 16 * time.Second, StepRequests: 1, Errors: None}).live(10, usual)
	for b.j.errors.capital() < 3.2 { // e^3 are 20
		b.live(1, second{50, 5, 30, 950, 9, 30})
	}
	if b.live(1, second{50, 1, 30, 950, 9, 30}); b.j.Cause() != ErrorsDoubted {
		t.Errorf("%v after %v, with a capital of %v", b.j.Cause(), b.now.Sub(0), b.j.errors.capital())
	}
	b.want(t, "began 0%->5% running")
	b.live(200, usual)
	b.want(t, "began 0%->5% running; step_passed 5%->50% running; last_passed 50%->50% done")
}

// A step has long had its time when the first requests come, all at once, and not all is well.
func TestOneBurstIsNoStep(t *testing.T) {
	b := sit(Plan{Steps: []float64{0.2, 0.5, 1}, StepTime: 5 * time.Second, StepRequests: 100}).live(20, second{0, 0, 0, 950, 9, 30})
	b.live(2, second{145, 12, 30, 600, 0, 30})
	if b.j.Cause() != TimeLeft {
		t.Error(b.j.Cause())
	}
	b.live(8, second{145, 12, 30, 600, 0, 30})
	b.want(t, "began 0%->20% running; more_errors 20%->0% rolled_back")
}

func TestAnOperatorStopsIt(t *testing.T) {
	b := sit(short).live(5, usual)
	b.tell(b.j.Stop(b.now, &b.canary, &b.baseline))
	b.tell(b.j.Stop(b.now, &b.canary, &b.baseline))
	b.live(30, second{50, 50, 30, 950, 9, 30})
	b.want(t, "began 0%->5% running; ordered 5%->5% stopped")
}

func TestAnotherPlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []float64
		want  string
		step  int
	}{
		{"the same steps", short.Steps, "", 0},
		{"a step before it", []float64{0.01, 0.05, 1}, "", 1},
		{"its step is gone", []float64{0.01, 0.1, 1}, "; replanned 5%->1% running", 0},
		{"all steps are higher", []float64{0.1, 1}, "; replanned 5%->10% running", 0},
	} {
		b := sit(short).live(5, usual)
		p := short
		p.Steps, p.Errors = c.steps, 0.02
		b.tell(b.j.Replan(p, b.now, &b.canary, &b.baseline))
		b.want(t, "began 0%->5% running"+c.want)
		if step, _ := b.j.Step(); step != c.step || b.j.Plan().Errors != 0.02 || b.j.State() != Running {
			t.Errorf("%s: step %d of %+v", c.name, step, b.j.Plan())
		}
	}
	b := sit(short).live(3, usual).live(12, second{50, 25, 30, 950, 9, 30})
	b.tell(b.j.Replan(Plan{Steps: []float64{0.3}}, b.now, &b.canary, &b.baseline))
	b.want(t, "began 0%->5% running; more_errors 5%->0% rolled_back")
}

func TestWords(t *testing.T) {
	for i, want := range stateWords {
		if State(i).String() != want {
			t.Error(want)
		}
	}
	if Settled.String() != "settled" || Began.String() != "began" || len(causeWords) != int(Settled)+1 {
		t.Error(causeWords)
	}
}

// What an hour of looking costs.
func BenchmarkLook(b *testing.B) {
	t := sit(Plan{Steps: []float64{0.05}, StepTime: time.Hour})
	b.ReportAllocs()
	for b.Loop() {
		t.now = t.now.Add(time.Second)
		t.canary.serve(50, 0, 30)
		t.baseline.serve(950, 9, 30)
		t.j.Look(t.now, &t.canary, &t.baseline)
	}
}
