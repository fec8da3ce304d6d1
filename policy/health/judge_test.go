package health

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

const t0 = mono.Time(time.Hour)

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("e%d", i)
	}
	return out
}

// states shows each endpoint's state by its first letter.
func (j *Judge) picture() string {
	var b strings.Builder
	for i := range j.records {
		b.WriteString(strings.ToUpper(j.State(i).String()[:1]))
	}
	return b.String()
}

func fail(j *Judge, i int, now mono.Time, times int) {
	for range times {
		j.Outcome(i, now, ConnectFailure)
	}
}

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		checks string // + good, - failed
		want   string // the state after each
	}{
		{"+", "H"},
		{"-", "F"}, // nothing has vouched for it yet: one is enough
		{"+--", "HHH"},
		{"+---", "HHHF"},
		{"+--+--", "HHHHHH"},
		{"-+", "FF"},
		{"-++", "FFH"},
		{"-+-++", "FFFFH"},
		{"-++---", "FFHHHF"},
		{"+---++---", "HHHFFHHHF"},
	} {
		j := NewJudge(Config{}, names(2), t0)
		got := ""
		for k, check := range c.checks {
			o := OK
			if check == '-' {
				o = Timeout
			}
			before := j.State(0)
			if changed := j.Probe(0, t0.Add(time.Duration(k)), o); changed != (j.State(0) != before) {
				t.Errorf("%s: check %d reports %v", c.checks, k, changed)
			}
			got += j.picture()[:1]
		}
		if got != c.want {
			t.Errorf("checks %s: %s, want %s", c.checks, got, c.want)
		}
	}
}

func TestForgettingChecksClearsTheirVerdicts(t *testing.T) {
	j := NewJudge(Config{Passive: Passive{ConsecutiveFailures: 1}}, names(5), t0)
	j.Probe(0, t0, Timeout)
	j.Probe(1, t0, OK)
	j.Outcome(2, t0, Reset)
	j.Drain(3, t0, true)
	if got := j.picture(); got != "FHEDH" {
		t.Fatalf("%s before", got)
	}
	if !j.ForgetChecks(t0) || !slices.Equal(j.Changed(), []int{0}) {
		t.Errorf("changed %v, want the failing one", j.Changed())
	}
	if got := j.picture(); got != "HHEDH" || j.Verdict(1, t0).Checked {
		t.Errorf("%s after, checked %v", got, j.Verdict(1, t0).Checked)
	}
}

func TestOutcomesThatEject(t *testing.T) {
	for _, c := range []struct {
		cfg      Passive
		outcomes []Outcome
		want     State
	}{
		{Passive{}, []Outcome{Reset, Timeout, ConnectFailure, BadResponse, GatewayError}, Ejected},
		{Passive{}, []Outcome{Reset, Reset, Reset, Reset}, Healthy},
		{Passive{}, []Outcome{Reset, Reset, Reset, Reset, OK, Reset}, Healthy},
		{Passive{}, []Outcome{Reset, Reset, Reset, Reset, Aborted, Aborted, Reset}, Ejected}, // a client neither hurts nor heals
		{Passive{}, []Outcome{Aborted, Aborted, Aborted, Aborted, Aborted, Aborted}, Healthy},
		{Passive{}, []Outcome{ServerError, ServerError, ServerError, ServerError, ServerError, ServerError}, Healthy},
		{Passive{}, []Outcome{Reset, Reset, Reset, Reset, ServerError, Reset}, Ejected},
		{Passive{CountServerErrors: true}, []Outcome{ServerError, ServerError, ServerError, ServerError, ServerError}, Ejected},
		{Passive{ConsecutiveFailures: 1}, []Outcome{Reset}, Ejected},
		{Passive{ConsecutiveFailures: -1}, []Outcome{Reset, Reset, Reset, Reset, Reset, Reset}, Healthy},
	} {
		j := NewJudge(Config{Passive: c.cfg}, names(3), t0)
		for _, o := range c.outcomes {
			j.Outcome(1, t0, o)
		}
		if got := j.State(1); got != c.want {
			t.Errorf("%+v: after %v %v, want %v", c.cfg, c.outcomes, got, c.want)
		}
	}
}

func TestOfStatus(t *testing.T) {
	for _, c := range []struct {
		status int
		want   Outcome
	}{
		{200, OK}, {304, OK}, {400, OK}, {429, OK}, {499, OK}, {500, ServerError}, {501, ServerError},
		{502, GatewayError}, {503, GatewayError}, {504, GatewayError}, {505, ServerError},
	} {
		if got := OfStatus(c.status); got != c.want {
			t.Errorf("OfStatus(%d) = %v, want %v", c.status, got, c.want)
		}
	}
}

func TestEjectionDoublesAndIsForgiven(t *testing.T) {
	j := NewJudge(Config{}, names(4), t0)
	now := t0
	eject := func(failures int, want time.Duration) {
		t.Helper()
		fail(j, 0, now, failures-1)
		if j.State(0) != Healthy {
			t.Fatalf("at %v ejected before failure %d", now.Sub(t0), failures)
		}
		fail(j, 0, now, 1)
		if got := j.Verdict(0, now).EjectedUntil.Sub(now); j.State(0) != Ejected || got != want {
			t.Fatalf("at %v: %v for %v, want ejected for %v", now.Sub(t0), j.State(0), got, want)
		}
		if j.Tick(j.Next() - 1) {
			t.Fatal("it came back early")
		}
		now = j.Next()
		if !j.Tick(now) || !slices.Equal(j.Changed(), []int{0}) || j.State(0) != Healthy || j.Next() != mono.Never {
			t.Fatalf("at its time: %v, changed %v, next %v", j.State(0), j.Changed(), j.Next())
		}
	}
	eject(5, 10*time.Second)
	eject(1, 20*time.Second) // on probation
	eject(1, 40*time.Second)
	eject(1, 80*time.Second)
	eject(1, 160*time.Second)
	eject(1, 5*time.Minute)
	eject(1, 5*time.Minute)
	j.Outcome(0, now, OK) // cleared
	now = now.Add(5*time.Minute - 1)
	eject(5, 5*time.Minute) // a spell short by a nanosecond forgives nothing
	j.Outcome(0, now, OK)
	now = now.Add(15 * time.Minute) // three steps
	eject(5, 80*time.Second)
	j.Outcome(0, now, OK)
	now = now.Add(time.Hour)
	eject(5, 10*time.Second)
}

func TestGoodChecksDoNotShortenAnEjection(t *testing.T) {
	j := NewJudge(Config{}, names(3), t0)
	fail(j, 0, t0, 5)
	for range 10 {
		j.Probe(0, t0, OK)
		j.Outcome(0, t0, OK)
		j.Outcome(0, t0, Reset)
	}
	if v := j.Verdict(0, t0); v.State != Ejected || v.EjectedUntil != t0.Add(10*time.Second) {
		t.Errorf("after good checks: %+v", v)
	}
	j.Probe(0, t0, Timeout)
	j.Probe(0, t0, Timeout)
	j.Probe(0, t0, Timeout)
	if j.State(0) != Failing {
		t.Errorf("failing its checks meanwhile: %v", j.State(0))
	}
	now := t0.Add(10 * time.Second)
	if j.Tick(now) || j.State(0) != Failing {
		t.Errorf("the end of the ejection made it %v", j.State(0))
	}
	j.Probe(0, now, OK)
	j.Probe(0, now, OK)
	if j.State(0) != Healthy {
		t.Errorf("two good checks later: %v", j.State(0))
	}
}

func TestEjectionStopsAtItsShareAndAtTheLast(t *testing.T) {
	for _, c := range []struct {
		n     int
		share float64
		want  string
	}{
		{1, 0, "H"}, {2, 0, "EH"}, {3, 0, "EHH"}, {4, 0, "EEHH"}, {10, 0.3, "EEEHHHHHHH"},
		{10, 0.05, "EHHHHHHHHH"}, {4, 1, "EEEH"}, {4, 7, "EEEH"},
	} {
		j := NewJudge(Config{Passive: Passive{MaxEjectedShare: c.share}}, names(c.n), t0)
		for i := range c.n {
			fail(j, i, t0, 20)
		}
		if got := j.picture(); got != c.want {
			t.Errorf("%d endpoints, share %v: %s, want %s", c.n, c.share, got, c.want)
		}
		if v := j.Verdict(c.n-1, t0); !v.HeldBack || v.Streak != 20 {
			t.Errorf("%d endpoints, share %v: the last one is not held back: %+v", c.n, c.share, v)
		}
	}
}

func TestFailingEndpointsCountAgainstTheEjectedShare(t *testing.T) {
	j := NewJudge(Config{}, names(4), t0)
	j.Probe(0, t0, Timeout)
	j.Probe(1, t0, Timeout)
	fail(j, 2, t0, 5)
	if got := j.picture(); got != "FFHH" {
		t.Errorf("%s, want FFHH: half is gone already", got)
	}
}

func TestTheLastHealthyOneFallsAndASuspectReturns(t *testing.T) {
	for _, c := range []struct {
		name string
		fall func(j *Judge, i int, now mono.Time) bool
		want string
	}{
		{"check", func(j *Judge, i int, now mono.Time) bool { return j.Probe(i, now, Timeout) }, "EHFF"},
		{"drain", func(j *Judge, i int, now mono.Time) bool { return j.Drain(i, now, true) }, "EHDD"},
	} {
		j := NewJudge(Config{}, names(4), t0)
		fail(j, 1, t0, 5)
		fail(j, 0, t0.Add(time.Second), 5)
		c.fall(j, 2, t0)
		if !c.fall(j, 3, t0) || !slices.Equal(j.Changed(), []int{3, 1}) {
			t.Errorf("%s: changed %v, want 3 and then 1", c.name, j.Changed())
		}
		if got := j.picture(); got != c.want {
			t.Errorf("%s: %s, want %s: the ejection that would end first ends", c.name, got, c.want)
		}
	}
}

func TestDrainOutranksAllAndReturns(t *testing.T) {
	j := NewJudge(Config{}, names(3), t0)
	j.Probe(0, t0, Timeout)
	j.Drain(0, t0, true)
	if j.State(0) != Drained || j.Drain(0, t0, true) {
		t.Errorf("drained: %v", j.State(0))
	}
	j.Drain(0, t0, false)
	if j.State(0) != Failing {
		t.Errorf("back from drain: %v, want failing as before", j.State(0))
	}
}

func TestVerdictTellsWhy(t *testing.T) {
	j := NewJudge(Config{}, names(3), t0)
	if v := j.Verdict(0, t0); v.Checked || v.LastError != OK || v.LastCheck != OK || v.Since != t0 {
		t.Errorf("at first: %+v", v)
	}
	j.Probe(0, t0+1, OK)
	j.Probe(0, t0+2, WrongStatus)
	fail(j, 0, t0+3, 4)
	j.Outcome(0, t0+4, GatewayError)
	got := j.Verdict(0, t0+5)
	want := Verdict{
		State: Ejected, Since: t0 + 4, Checked: true, CheckStreak: 1, LastCheck: WrongStatus,
		LastError: GatewayError, LastErrorAt: t0 + 4, EjectedUntil: (t0 + 4).Add(10 * time.Second), Ejections: 1,
	}
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestInheritKeepsVerdictsByIdentity(t *testing.T) {
	old := NewJudge(Config{}, []string{"a", "b", "c", "d"}, t0)
	fail(old, 0, t0, 5)
	old.Probe(1, t0, Timeout)
	fail(old, 2, t0, 4)
	old.Probe(3, t0, OK)

	j := NewJudge(Config{}, []string{"new", "d", "c", "b", "a"}, t0+9)
	j.Inherit(old, t0+9)
	if got := j.picture(); got != "HHHFE" || !slices.Equal(j.Changed(), []int{3, 4}) {
		t.Errorf("%s, changed %v; want HHHFE, 3 and 4", got, j.Changed())
	}
	if j.Next() != t0.Add(10*time.Second) {
		t.Errorf("next %v", j.Next())
	}
	if v := j.Verdict(1, t0); !v.Checked || v.Since != t0 {
		t.Errorf("d: %+v", v)
	}
	fail(j, 2, t0+9, 1)
	if v := j.Verdict(2, t0+9); !v.HeldBack || v.Streak != 5 {
		t.Errorf("c's streak is lost: %+v", v)
	}

	alone := NewJudge(Config{}, []string{"a"}, t0+9)
	alone.Inherit(old, t0+9)
	if alone.State(0) != Healthy {
		t.Errorf("an ejected endpoint that is left alone is %v", alone.State(0))
	}
}

func TestOutcomeAllocatesNothing(t *testing.T) {
	j := NewJudge(Config{}, names(100), t0)
	now, k := t0, 0
	if n := testing.AllocsPerRun(5000, func() {
		k++
		now = now.Add(time.Second)
		j.Outcome(k%7, now, OK)
		j.Outcome(50+k%3, now, Reset)
		j.Tick(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// model is the judge said plainly: verdicts worked out from the whole history, counts by counting.
type model struct {
	drained  []bool
	checks   [][]bool
	streak   []int
	until    []mono.Time
	back     []mono.Time
	length   []time.Duration
	doubling []int
}

func (m *model) failing(i int) bool {
	const unknown, up, down = 0, 1, 2
	is, run := unknown, 0
	for _, good := range m.checks[i] {
		switch {
		case is == unknown && good:
			is = up
		case is == unknown:
			is = down
		case good == (is == up):
			run = 0
		default:
			run++
			if is == up && run == 3 {
				is, run = down, 0
			} else if is == down && run == 2 {
				is, run = up, 0
			}
		}
	}
	return is == down
}

func (m *model) state(i int) State {
	switch {
	case m.drained[i]:
		return Drained
	case m.failing(i):
		return Failing
	case m.until[i] != 0:
		return Ejected
	}
	return Healthy
}

func (m *model) count(s State) (n int) {
	for i := range m.drained {
		if m.state(i) == s {
			n++
		}
	}
	return n
}

func (m *model) bad(i int, now mono.Time) {
	if m.until[i] != 0 {
		return
	}
	if m.streak[i]++; m.streak[i] < 5 {
		return
	}
	if m.state(i) == Healthy {
		serving := len(m.drained) - m.count(Drained)
		gone := serving - m.count(Healthy)
		if m.count(Healthy) == 1 || gone > 0 && float64(gone+1) > 0.5*float64(serving) {
			return
		}
	}
	if m.length[i] > 0 {
		m.doubling[i] = max(0, m.doubling[i]-int(now.Sub(m.back[i])/m.length[i]))
	}
	m.length[i] = min(10*time.Second<<m.doubling[i], 5*time.Minute)
	m.doubling[i] = min(m.doubling[i]+1, 6) // 10 s doubled five times is past 5 min
	m.until[i] = now.Add(m.length[i])
}

func (m *model) release(i int, now mono.Time) { m.until[i], m.back[i], m.streak[i] = 0, now, 4 }

func (m *model) guard(now mono.Time) {
	if m.count(Healthy) > 0 {
		return
	}
	first := -1
	for i := range m.until {
		if m.state(i) == Ejected && (first < 0 || m.until[i] < m.until[first]) {
			first = i
		}
	}
	if first >= 0 {
		m.release(first, now)
	}
}

func TestJudgeAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "endpoints")
		j := NewJudge(Config{}, names(n), t0)
		m := &model{
			drained: make([]bool, n), checks: make([][]bool, n), streak: make([]int, n), until: make([]mono.Time, n),
			back: make([]mono.Time, n), length: make([]time.Duration, n), doubling: make([]int, n),
		}
		now := t0
		for step := range 150 {
			before := j.picture()
			i := rapid.IntRange(0, n-1).Draw(t, "endpoint")
			changed := false
			switch what := rapid.IntRange(0, 9).Draw(t, "fact"); what {
			case 0:
				good := rapid.Bool().Draw(t, "good")
				o := Timeout
				if good {
					o = OK
				}
				changed = j.Probe(i, now, o)
				m.checks[i] = append(m.checks[i], good)
			case 1:
				changed = j.Outcome(i, now, OK)
				m.streak[i] = 0
			case 2:
				changed = j.Outcome(i, now, rapid.SampledFrom([]Outcome{Aborted, ServerError}).Draw(t, "outcome"))
			case 3, 4, 5, 6:
				o := rapid.SampledFrom([]Outcome{ConnectFailure, Reset, Timeout, BadResponse, GatewayError}).Draw(t, "outcome")
				for range rapid.IntRange(1, 5).Draw(t, "times") {
					changed = j.Outcome(i, now, o) || changed
					m.bad(i, now)
				}
			case 7:
				drain := rapid.Bool().Draw(t, "drain")
				changed = j.Drain(i, now, drain)
				m.drained[i] = drain
			default:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(40*time.Second)).Draw(t, "pause")))
				changed = j.Tick(now)
				for k := range m.until {
					if m.until[k] != 0 && m.until[k] <= now {
						m.release(k, now)
					}
				}
			}
			m.guard(now)

			next := mono.Never
			for k := range n {
				if got, want := j.State(k), m.state(k); got != want {
					t.Fatalf("step %d: endpoint %d is %v, want %v", step, k, got, want)
				}
				if m.until[k] != 0 {
					next = min(next, m.until[k])
				}
				if got := j.Verdict(k, now).EjectedUntil; got != m.until[k] {
					t.Fatalf("step %d: endpoint %d ejected until %v, want %v", step, k, got, m.until[k])
				}
			}
			if j.Next() != next {
				t.Fatalf("step %d: next %v, want %v", step, j.Next(), next)
			}
			if changed != (before != j.picture()) {
				t.Fatalf("step %d: %s became %s, reported as %v", step, before, j.picture(), changed)
			}
			if j.Count(Healthy) == 0 && j.Count(Ejected) > 0 {
				t.Fatalf("step %d: %s: ejection has taken the cluster down", step, j.picture())
			}
		}
	})
}

// What a client can cause leaves no trace: with such outcomes strewn in, every verdict is the same (threat model: a client must
// never be able to hurt an upstream's health record).
func TestClientsCannotHurtTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := NewJudge(Config{}, names(3), t0), NewJudge(Config{}, names(3), t0)
		now := t0
		for range 100 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "pause")))
			a.Tick(now)
			b.Tick(now)
			i := rapid.IntRange(0, 2).Draw(t, "endpoint")
			o := rapid.SampledFrom([]Outcome{OK, Reset, Reset, Reset, Reset, Reset}).Draw(t, "outcome")
			a.Outcome(i, now, o)
			b.Outcome(i, now, o)
			b.Outcome(rapid.IntRange(0, 2).Draw(t, "victim"), now, Aborted)
			for k := range 3 {
				if a.Verdict(k, now) != b.Verdict(k, now) {
					t.Fatalf("endpoint %d\nwithout %+v\n   with %+v", k, a.Verdict(k, now), b.Verdict(k, now))
				}
			}
		}
	})
}

func BenchmarkOutcome(b *testing.B) {
	j := NewJudge(Config{}, names(100), t0)
	b.ReportAllocs()
	for b.Loop() {
		j.Outcome(5, t0, OK)
	}
}
