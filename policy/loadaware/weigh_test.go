package loadaware

import (
	"math"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

// pool is some members, weighed every quarter of a second.
type pool struct {
	settings Settings
	members  []*Member
	now      mono.Time
}

func newPool(n int, s Settings) *pool {
	p := &pool{settings: s.Filled(), now: mono.Time(time.Minute)}
	for range n {
		m := NewMember(1)
		m.Facts = Facts{Base: 100, Ready: true, CPU: 0.2, Memory: 0.1, Latency: 10 * time.Millisecond}
		p.members = append(p.members, m)
	}
	return p
}

func (p *pool) pass(d time.Duration) (out Outcome) {
	for end := p.now.Add(d); p.now < end; {
		p.now = p.now.Add(250 * time.Millisecond)
		out = p.settings.Weigh(p.now, p.members)
	}
	return out
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.011*max(1, math.Abs(want)) {
		t.Errorf("%s is %.3f, want %.3f", what, got, want)
	}
}

func TestTheFormulaAndWhatKeepsAWeightFromIt(t *testing.T) {
	f := func(name string, change func(f *Facts), share float64, reason Reason) {
		t.Helper()
		p := newPool(4, Settings{})
		p.members[0].Facts.CPU, p.members[0].Facts.Latency = 0.2, 10*time.Millisecond
		change(&p.members[0].Facts)
		p.pass(2 * time.Minute)
		w := &p.members[0].Weight
		near(t, name+": share", w.Share, share)
		near(t, name+": final", w.Final, share*100)
		if w.Reason != reason {
			t.Errorf("%s: reason %v, want %v: %+v", name, w.Reason, reason, w)
		}
	}
	const usual = 0.8 * 0.905 // of the other three
	f("as the others", func(f *Facts) {}, usual, CPULoad)
	f("half a processor", func(f *Facts) { f.CPU = 0.5 }, 0.5*0.905, CPULoad)
	f("memory counts where it is more", func(f *Facts) { f.Memory = 0.6 }, 0.4*0.905, MemoryLoad)
	f("50 ms", func(f *Facts) { f.Latency = 50 * time.Millisecond }, 0.8*0.607, Latency)
	f("a second: the ratio cap", func(f *Facts) { f.Latency = time.Second }, usual/10, Capped)
	f("all of its memory is no reason to have nothing", func(f *Facts) { f.Memory = 1 }, usual/10, Capped)
	f("unknown load is that of the others", func(f *Facts) { f.CPU, f.Memory = -1, -1 }, usual, CPULoad)
	f("an old report is no report", func(f *Facts) { f.CPU, f.LoadAge = 0.9, time.Minute }, usual, CPULoad)
	f("an old bad latency fades", func(f *Facts) { f.Latency, f.LatencyAge = time.Second, 10*time.Minute }, usual, CPULoad)
	f("one probe failed", func(f *Facts) { f.ProbeFailures = 1 }, usual/2, Probe)
	f("three probes failed", func(f *Facts) { f.ProbeFailures = 3 }, 0, Unhealthy)
	f("half of the calls fail", func(f *Facts) { f.Failures = 0.5 }, usual/4, Failures)
	f("calls are not answered", func(f *Facts) { f.Stalled = time.Second }, usual/10, Capped)
	f("no connection", func(f *Facts) { f.Ready = false }, 0, NotReady)
	f("nonsense", func(f *Facts) { f.CPU, f.Failures = math.NaN(), math.NaN() }, 0.9*0.905, CPULoad)
}

func TestNobodyFallsBelowTheFloor(t *testing.T) {
	p := newPool(3, Settings{})
	for _, m := range p.members {
		m.Facts.Latency = time.Second
	}
	p.pass(time.Minute)
	for _, m := range p.members {
		near(t, "share", m.Weight.Share, 0.05)
	}
	if r := p.members[0].Weight.Reason; r != Floored {
		t.Errorf("reason %v", r)
	}
}

func TestOneFastAmongSlowOnesGetsTenTimesTheirShareAndNoMore(t *testing.T) {
	p := newPool(10, Settings{})
	for _, m := range p.members[1:] {
		m.Facts.Latency = 500 * time.Millisecond
	}
	p.members[0].Facts.Latency = 50 * time.Millisecond
	p.pass(time.Minute)
	if r := p.members[0].Weight.Final / p.members[1].Weight.Final; r > 10.01 {
		t.Errorf("ratio %.1f", r)
	}
}

func TestWeightsFallFasterThanTheyRise(t *testing.T) {
	p := newPool(2, Settings{})
	p.pass(time.Minute)
	m := p.members[0]
	before := m.Weight.Share
	m.Facts.Latency = time.Second
	p.pass(time.Second)
	near(t, "fall in the first second", before-m.Weight.Share, 0.403)
	if r := m.Weight.Reason; r != Moving {
		t.Errorf("reason %v", r)
	}
	p.pass(time.Minute)
	before = m.Weight.Share
	m.Facts.Latency = 10 * time.Millisecond
	p.pass(time.Second)
	near(t, "rise in the first second", m.Weight.Share-before, 0.1)
}

func TestSlowStart(t *testing.T) {
	p := newPool(3, Settings{})
	fresh := NewMember(0)
	fresh.Facts = p.members[0].Facts
	p.pass(time.Minute)
	p.members = append(p.members, fresh)
	p.pass(250 * time.Millisecond)
	usual := p.members[0].Weight.Share
	near(t, "at first", fresh.Weight.Share, 0.1*usual)
	if r := fresh.Weight.Reason; r != Warming {
		t.Errorf("reason %v", r)
	}
	p.pass(5 * time.Second)
	if s := fresh.Weight.Share; s < 0.4*usual || s > 0.6*usual {
		t.Errorf("after half of slow start it has %.2f of %.2f", s, usual)
	}
	p.pass(time.Minute)
	near(t, "in the end", fresh.Weight.Share, usual)

	fresh.Facts.Ready = false // a connection that was replaced
	p.pass(250 * time.Millisecond)
	fresh.Facts.Ready = true
	p.pass(250 * time.Millisecond)
	if s := fresh.Weight.Share; s < 0.7*usual {
		t.Errorf("a new connection costs it more than a quarter: %.2f of %.2f", s, usual)
	}
	fresh.Facts.Ready = false // a restart
	p.pass(2 * time.Second)
	fresh.Facts.Ready = true
	p.pass(250 * time.Millisecond)
	if s := fresh.Weight.Share; s > 0.15*usual {
		t.Errorf("after a restart it has %.2f of %.2f at once", s, usual)
	}
	p.pass(time.Minute)
	fresh.Chill() // another process at the same address
	p.pass(250 * time.Millisecond)
	near(t, "after it was replaced", fresh.Weight.WarmFactor, 0.1+0.9*0.025)
}

func TestPanicWhenLessThanHalfIsHealthy(t *testing.T) {
	p := newPool(4, Settings{})
	p.pass(time.Minute)
	p.members[0].Facts.ProbeFailures, p.members[1].Facts.ProbeFailures = 5, 5
	if out := p.pass(time.Second); out.Panic || p.members[0].Weight.Final != 0 {
		t.Errorf("half is enough: %+v", out)
	}
	p.members[2].Facts.Ready = false
	out := p.pass(time.Second)
	if !out.Panic || out.HealthyShare != 0.25 {
		t.Errorf("a quarter is healthy: %+v", out)
	}
	for i, want := range []float64{100, 100, 0, 100} {
		if w := &p.members[i].Weight; w.Final != want {
			t.Errorf("%d has %v, want %v (%v)", i, w.Final, want, w.Reason)
		}
	}
	if p.settings.PanicThreshold = -1; p.pass(time.Second).Panic {
		t.Error("panic though it is switched off")
	}
}

func TestSlowness(t *testing.T) {
	f := func(others, latency time.Duration, want float64) {
		t.Helper()
		p := newPool(5, Settings{})
		for _, m := range p.members {
			m.Facts.Latency = others
		}
		p.members[0].Facts.Latency = latency
		p.pass(time.Second)
		near(t, latency.String(), p.members[0].Weight.Slowness, want)
	}
	f(10*time.Millisecond, 20*time.Millisecond, 1)
	f(10*time.Millisecond, 100*time.Millisecond, 10)
	f(time.Millisecond, 10*time.Millisecond, 10)
	f(20*time.Microsecond, 400*time.Microsecond, 1)
	f(10*time.Millisecond, time.Millisecond, 1)
}

// Whatever is reported: a weight is a number, within its bounds, and moves no faster than it may.
func TestWeightsStayWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(rapid.IntRange(1, 6).Draw(t, "n"), Settings{})
		p.pass(time.Second)
		number := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-1, 2), rapid.Just(math.NaN()))
		spans := rapid.Map(rapid.Int64Range(-1e6, 5e9), func(n int64) time.Duration { return time.Duration(n) })
		for range rapid.IntRange(1, 20).Draw(t, "turns") {
			before := make([]Weight, len(p.members))
			for i, m := range p.members {
				before[i] = m.Weight
				m.Facts = Facts{Base: 100, Ready: rapid.Bool().Draw(t, "ready"), CPU: number.Draw(t, "cpu"), Memory: number.Draw(t, "mem"),
					LoadAge: spans.Draw(t, "age"), Latency: spans.Draw(t, "latency"), LatencyAge: spans.Draw(t, "age"), Stalled: spans.Draw(t, "stalled"),
					Failures: number.Draw(t, "failures"), ProbeFailures: rapid.IntRange(-1, 5).Draw(t, "probes")}
			}
			out := p.pass(250 * time.Millisecond)
			for i, m := range p.members {
				w := &m.Weight
				switch usable := m.Facts.Ready && (w.Healthy || out.Panic); {
				case usable && !(w.Share >= 0.05-1e-9 && w.Share <= 1) || !usable && w.Share != 0:
					t.Fatalf("share %v of %+v with %+v", w.Share, w, m.Facts)
				case !(w.Slowness >= 1) || math.IsInf(w.Slowness, 0):
					t.Fatalf("slowness %v", w.Slowness)
				case out.Panic || before[i].Reason == Panic || before[i].Share == 0 || w.Share == 0:
				case w.Share-before[i].Share > 0.1*0.25+1e-9 || before[i].Share-w.Share > 0.5*0.25+1e-9:
					t.Fatalf("from %v to %v within 250 ms", before[i].Share, w.Share)
				}
			}
		}
	})
}

func TestWeighingAllocatesNothing(t *testing.T) {
	p := newPool(50, Settings{})
	if n := testing.AllocsPerRun(100, func() { p.pass(250 * time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSettingsNameTheFieldThatIsWrong(t *testing.T) {
	f := func(s Settings, want string) {
		t.Helper()
		s = s.Filled()
		got := ""
		if err := s.Check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(Settings{}, "")
	f(Settings{LatencyScale: -1}, "setting LatencyScale is -1ns, it must be above 0")
	f(Settings{Floor: 2}, "setting Floor is 2, it must be between 0 and 1")
	f(Settings{RatioMax: 0.5}, "setting RatioMax is 0.5, it must be at least 1")
	f(Settings{Smoothing: -1}, "setting Smoothing is -1ns, it must not be negative")
	f(Settings{FallPerSecond: -1}, "setting FallPerSecond is -1, it must be above 0")
	f(Settings{RisePerSecond: math.NaN()}, "setting RisePerSecond is NaN, it must be above 0")
	f(Settings{PanicThreshold: 1.5}, "setting PanicThreshold is 1.5, it must not exceed 1")
	f(Settings{ProbeFailuresMax: -1}, "setting ProbeFailuresMax is -1, it must not be negative")
	f(Settings{LoadMemory: -1}, "setting LoadMemory is -1ns and LatencyMemory 30s, they must not be negative")
	f(Settings{Tolerance: 0.5}, "setting Tolerance is 0.5, it must be at least 1")
}
