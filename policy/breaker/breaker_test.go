package breaker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

const t0 = mono.Time(time.Hour)

const tick = 100 * time.Millisecond

// bench is a breaker with its clock and what has happened to it.
type bench struct {
	*Breaker
	now  mono.Time
	run  uint32
	said strings.Builder
}

func newBench(cfg Config) *bench { return &bench{Breaker: New(cfg, 1, t0), now: t0} }

// play lets n requests end within each of some ticks, the first bad of them as failures that take that long.
func (b *bench) play(ticks, n, bad int, took time.Duration) *bench {
	for range ticks {
		b.now = b.now.Add(tick)
		c := Counts{Run: b.run}
		for i := range n {
			c.Add(took, i < bad, false, took >= time.Second)
		}
		b.run = c.Run
		b.tell(b.Tick(b.now, &c))
	}
	return b
}

func (b *bench) tell(t Transition, changed bool) {
	if !changed {
		return
	}
	b.run = 0
	fmt.Fprintf(&b.said, "%5.1f %s > %s %s", t.At.Sub(t0).Seconds(), t.From, t.To, t.Cause)
	if t.To == Open {
		fmt.Fprintf(&b.said, " for %s", t.OpenFor)
	}
	if v := b.View(); v.State != Open || v.Share > 0 {
		fmt.Fprintf(&b.said, ", %.3g %% pass", v.Share*100)
	}
	b.said.WriteString("\n")
}

func transcript(t *testing.T, b *bench, want string) {
	t.Helper()
	trim := func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n")
	}
	if got := trim(b.said.String()); got != trim(want) {
		t.Errorf("got\n%s\nwant\n%s", got, trim(want))
	}
}

func TestAServiceThatIsGoneAndComesBackIsRefusedAndLetBackStepByStep(t *testing.T) {
	b := newBench(Config{Consecutive: -1})
	b.play(100, 10, 0, time.Millisecond) // ten good seconds
	b.play(60, 10, 10, time.Millisecond) // at half of the window
	b.play(50, 0, 0, 0)
	b.play(3, 1, 1, time.Millisecond) // three probes fail, and of five more than half will have
	b.play(100, 0, 0, 0)
	b.play(40, 5, 0, time.Millisecond) // well again
	transcript(t, b, `
	15.0 closed > open error_ratio for 5s
	20.0 open > half_open time_over, 0 % pass
	21.3 half_open > open probes_failed for 10s
	31.3 open > half_open time_over, 0 % pass
	31.4 half_open > half_open probes_passed, 1 % pass
	32.4 half_open > half_open probes_passed, 5 % pass
	33.4 half_open > half_open probes_passed, 25 % pass
	34.4 half_open > closed recovered, 100 % pass`)
}

func TestWhatOpensAndWhatDoesNot(t *testing.T) {
	const good = time.Millisecond
	for _, c := range []struct {
		name string
		cfg  Config
		do   func(*bench)
		want Cause // of the first opening; None: there is none
	}{
		{"half of the requests fail", Config{}, func(b *bench) { b.play(100, 4, 2, good) }, ErrorRatio},
		{"a little less than half", Config{}, func(b *bench) { b.play(300, 100, 49, good) }, None},
		{"all of few", Config{Consecutive: -1}, func(b *bench) { b.play(19, 1, 1, good).play(200, 0, 0, 0) }, None},
		{"all of just enough", Config{Consecutive: -1}, func(b *bench) { b.play(20, 1, 1, good) }, ErrorRatio},
		{"few, but too far apart to be in one window", Config{Consecutive: -1}, func(b *bench) {
			for range 40 {
				b.play(1, 1, 1, good).play(9, 0, 0, 0)
			}
		}, None},
		{"failures in a row, below the volume", Config{Consecutive: 5}, func(b *bench) { b.play(5, 1, 1, good) }, Consecutive},
		{"failures in a row, one fewer", Config{Consecutive: 5}, func(b *bench) { b.play(4, 1, 1, good).play(1, 1, 0, good).play(4, 1, 1, good) }, None},
		{"slow calls", Config{SlowRatio: 0.5}, func(b *bench) { b.play(30, 1, 0, time.Second) }, SlowRatio},
		{"slow calls that nobody asked about", Config{}, func(b *bench) { b.play(30, 1, 0, time.Second) }, None},
		{"every condition off", Config{ErrorRatio: -1, Consecutive: -1}, func(b *bench) { b.play(100, 10, 10, time.Second) }, None},
		{"nothing at all", Config{}, func(b *bench) { b.play(600, 0, 0, 0) }, None},
	} {
		b := newBench(c.cfg)
		c.do(b)
		first, _, _ := strings.Cut(b.said.String(), "\n")
		if c.want == None && first != "" || c.want != None && !strings.Contains(first, "closed > open "+c.want.String()+" ") {
			t.Errorf("%s: want %s\n%s", c.name, c.want, b.said.String())
		}
	}
}

func TestARunOfFailuresDoesNotWaitForTheTick(t *testing.T) {
	b := newBench(Config{Consecutive: 3})
	b.play(10, 1, 0, time.Millisecond)
	c := Counts{Run: 3, Failures: 3}
	c.Latency[0] = 3
	tr, ok := b.Trip(b.now, &c)
	if !ok || b.View().State != Open || tr.Cause != Consecutive || tr.Numbers.Run != 3 || tr.Numbers.Failures != 3 || tr.Classic != Consecutive {
		t.Errorf("%+v, %v", tr, ok)
	}
	if _, ok := b.Trip(b.now, &c); ok {
		t.Error("an open breaker was opened")
	}
}

func TestEachFailedReturnTakesTwiceAsLongUpToTheMost(t *testing.T) {
	b := newBench(Config{Consecutive: 3, OpenFor: time.Second, OpenMax: 5 * time.Second, Probes: 1})
	b.play(3, 1, 1, time.Millisecond)
	for range 300 {
		n := 0
		if b.View().State == HalfOpen {
			n = 1
		}
		b.play(1, n, n, time.Millisecond)
	}
	var times []string
	for line := range strings.Lines(b.said.String()) {
		if _, after, ok := strings.Cut(strings.TrimSpace(line), " for "); ok {
			times = append(times, after)
		}
	}
	if got := strings.Join(times, " "); got != "1s 2s 4s 5s 5s 5s 5s 5s" {
		t.Errorf("open for %s", got)
	}
}

func TestOneBadProbeOfFiveIsNoVerdictTwoAreWhereHalfIsTooMuch(t *testing.T) {
	for _, c := range []struct {
		ratio     float64
		bad       int
		wantState State
	}{{0.5, 1, HalfOpen}, {0.5, 2, HalfOpen}, {0.5, 3, Open}, {0.2, 1, HalfOpen}, {0.2, 2, Open}, {1, 4, HalfOpen}, {1, 5, Open}} {
		b := newBench(Config{ErrorRatio: c.ratio, Consecutive: 20})
		b.play(20, 1, 1, time.Millisecond).play(51, 0, 0, 0)
		if v := b.View(); v.State != HalfOpen || v.Step != 0 || v.Probes != 5 {
			t.Fatalf("%+v", v)
		}
		b.play(1, 5, c.bad, time.Millisecond)
		if v := b.View(); v.State != c.wantState {
			t.Errorf("%d of 5 probes bad at %g: %s, want %s", c.bad, c.ratio, v.State, c.wantState)
		}
	}
}

func TestProbesThatNeverEndAreReplaced(t *testing.T) {
	b := newBench(Config{Consecutive: 3, OpenFor: time.Second})
	b.play(3, 1, 1, time.Millisecond).play(11, 0, 0, 0)
	first := b.View()
	if first.State != HalfOpen {
		t.Fatal(first.State)
	}
	b.play(8, 0, 0, 0)
	if b.View().Episode != first.Episode {
		t.Error("replaced too early")
	}
	b.play(2, 0, 0, 0)
	if v := b.View(); v.Episode == first.Episode || v.State != HalfOpen || v.Probes != 5 || v.Era != first.Era {
		t.Errorf("%+v", v)
	}
}

func TestLittleTrafficClimbsTheRampByProbesAlone(t *testing.T) {
	b := newBench(Config{Consecutive: 3, OpenFor: time.Second})
	b.play(3, 1, 1, time.Millisecond).play(11, 0, 0, 0)
	for range 25 { // one request a second, each a probe
		b.play(1, 1, 0, time.Millisecond).play(9, 0, 0, 0)
	}
	if v := b.View(); v.State != Closed {
		t.Errorf("still %s, step %d\n%s", v.State, v.Step, b.said.String())
	}
}

func TestNewSettingsFindAnOpenBreakerOpen(t *testing.T) {
	b := newBench(Config{Consecutive: 3, OpenFor: 30 * time.Second})
	b.play(3, 1, 1, time.Millisecond)
	before := b.View()
	b.Configure(Config{Consecutive: 50, Window: 20 * time.Second, Probes: 9, OpenMax: time.Minute}, b.now)
	if v := b.View(); v.State != Open || v.Until != before.Until || v.Era != before.Era {
		t.Errorf("%+v, was %+v", v, before)
	}
	b.Configure(Config{OpenFor: time.Second, OpenMax: 2 * time.Second}, b.now)
	if v := b.View(); v.Until != b.now.Add(2*time.Second) {
		t.Errorf("open until %s from now", v.Until.Sub(b.now))
	}
	b.play(21, 0, 0, 0)
	b.Configure(Config{Probes: 9, Ramp: []float64{0.5}}, b.now)
	if v := b.View(); v.State != HalfOpen || v.Probes != 9 {
		t.Errorf("%+v", v)
	}
	b.Reset(b.now)
	if v := b.View(); v.State != Closed || v.Share != 1 {
		t.Errorf("after an order: %+v", v)
	}
}

// TestNoIllegalTransitionWhateverHappens lets chance decide what ends how, and checks each change against the drawing.
func TestNoIllegalTransitionWhateverHappens(t *testing.T) {
	legal := map[string]bool{"closed open": true, "open half_open": true, "half_open half_open": true, "half_open open": true, "half_open closed": true}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 9))
		cfg := Config{Consecutive: 1 + r.IntN(30), Volume: 1 + r.IntN(50), ErrorRatio: 0.05 + 0.9*r.Float64(), OpenFor: time.Duration(1 + r.Int64N(int64(3*time.Second))),
			Probes: 1 + r.IntN(8), SlowRatio: r.Float64(), Adaptive: Adaptive{On: r.IntN(2) == 0, Learn: 5}}
		b := newBench(cfg)
		ill := 0.0
		opened := mono.Time(0)
		for range 4000 {
			if r.IntN(100) == 0 {
				ill = r.Float64() * float64(r.IntN(2))
			}
			b.now = b.now.Add(time.Duration(r.Int64N(int64(2 * tick))))
			before := b.View()
			var c Counts
			for range r.IntN(20) {
				passes := before.Share >= 1 || r.Float64() < before.Share || before.Probes > int(c.Total())
				if passes {
					c.Add(time.Duration(r.Int64N(int64(time.Second))), r.Float64() < ill, r.IntN(9) == 0, r.IntN(3) == 0)
				}
			}
			tr, changed := b.Tick(b.now, &c)
			v := b.View()
			switch {
			case !changed && (v.State != before.State || v.Step != before.Step || v.Share != before.Share):
				t.Fatalf("seed %d: changed without a word: %+v, %+v", seed, before, v)
			case changed && !legal[tr.From.String()+" "+tr.To.String()]:
				t.Fatalf("seed %d: %s to %s", seed, tr.From, tr.To)
			case changed && (tr.From != before.State || tr.To != v.State || tr.At != b.now):
				t.Fatalf("seed %d: said %+v, is %+v", seed, tr, v)
			case changed && tr.To == Open && (v.Era != before.Era+1 || v.Until.Sub(b.now) > time.Minute || v.Last.Cause != tr.Cause):
				t.Fatalf("seed %d: %+v", seed, v)
			case v.Share < 0 || v.Share > 1 || v.State == Closed && v.Share != 1 || v.State == HalfOpen && v.Probes != cfg.Probes:
				t.Fatalf("seed %d: %+v", seed, v)
			}
			if changed && tr.To == Open {
				opened = b.now
			}
			if v.State == Open && b.now.Sub(opened) > time.Minute+2*tick {
				t.Fatalf("seed %d: open for %s", seed, b.now.Sub(opened))
			}
		}
	}
}
