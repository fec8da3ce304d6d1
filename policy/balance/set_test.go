package balance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

const t0 = mono.Time(time.Hour)

var algorithms = []Algorithm{RoundRobin, Weighted, Random, LeastRequest, TwoChoices, Maglev, LoadAware}

// small is a prime that keeps tables of tests quick to build.
const small = 2053

// list makes n endpoints named e0, e1 ... of weight 1.
func list(n int) []Endpoint {
	out := make([]Endpoint, n)
	for i := range out {
		out[i] = Endpoint{Identity: fmt.Sprintf("e%d", i), Weight: 1}
	}
	return out
}

func weighted(weights ...uint32) []Endpoint {
	out := list(len(weights))
	for i, w := range weights {
		out[i].Weight = w
	}
	return out
}

func newSet(t testing.TB, cfg Config, endpoints []Endpoint) *Set {
	t.Helper()
	if cfg.Algorithm == Maglev && cfg.Table == nil {
		table, err := NewTable(endpoints, small)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Table = table
	}
	return New(cfg, endpoints, t0)
}

// cluster reads "HH|FH": tiers divided by a bar, each endpoint H, E, F or D by its health; a digit before is its weight.
func cluster(t testing.TB, cfg Config, text string) *Set {
	t.Helper()
	var endpoints []Endpoint
	var health []Health
	weight, priority := uint32(1), uint8(0)
	for _, c := range text {
		switch {
		case c == '|':
			priority++
		case c >= '1' && c <= '9':
			weight = uint32(c - '0')
		default:
			endpoints = append(endpoints, Endpoint{Identity: fmt.Sprintf("e%d", len(endpoints)), Weight: weight, Priority: priority})
			health = append(health, Health(strings.IndexRune("HEFD", c)))
			weight = 1
		}
	}
	s := newSet(t, cfg, endpoints)
	for i, h := range health {
		s.SetHealth(i, h, t0)
	}
	return s
}

// reach picks often and shows who was chosen, "x" or ".", and the last reason.
func reach(s *Set, tried *Tried) string {
	seen := []byte(strings.Repeat(".", len(s.endpoints)))
	why := Normal
	for k := range uint64(400) {
		var i int
		if i, why = s.Pick(t0, mix(k), mix(k+1e9), tried); i >= 0 {
			seen[i] = 'x'
		}
	}
	return string(seen) + " " + why.String()
}

func TestPool(t *testing.T) {
	for _, c := range []struct {
		panic float64
		in    string
		want  string
	}{
		{0, "HHHH", "xxxx normal"},
		{0, "HHFH", "xx.x normal"},
		{0, "HHEF", "xx.. normal"},
		{0, "HHDD", "xx.. normal"},
		{0, "HFDD", "x... normal"}, // what is drained does not count as ill
		{0, "HFF", "xxx panic"},
		{0, "HFE", "xxx panic"},
		{0, "HFFD", "xxx. panic"}, // panic respects an operator's order
		{0.3, "HFF", "x.. normal"},
		{1, "HHHF", "xxxx panic"},
		{-1, "HFFFFFFF", "x....... normal"},
		{-1, "EEF", "... no_healthy_upstream"},
		{0, "FFF", "... no_healthy_upstream"}, // every check fails: a clear 503, no shots in the dark
		{0, "FFE", "xxx panic"},               // an ejection is a guess
		{0, "DDD", "... all_drained"},
		{0, "DFF", "... no_healthy_upstream"},
		{0, "", " no_endpoints"},
		{0, "3HFF", "x.. normal"}, // the share is by weight
		{0, "H3F", "xx panic"},
		{0, "HH|HH", "xx.. normal"},
		{0, "HF|HH", "x... normal"},
		{0, "HFF|HH", "...xx backup"},
		{0, "FF|HH", "..xx backup"},
		{0, "DD|HH", "..xx backup"},
		{0, "EE|HH", "..xx backup"},
		{0, "FF|FF|H", "....x backup"},
		{0, "HFF|HFF", "xxx... panic"},
		{0, "FFF|HFF", "...xxx panic"},
		{0, "FFF|EFF", "...xxx panic"},
		{-1, "HFF|HHH", "x..... normal"},
		{-1, "FFF|HFF", "...x.. backup"},
	} {
		for _, a := range algorithms {
			// Least request is told nothing here, and takes turns.
			if got := reach(cluster(t, Config{Algorithm: a, PanicThreshold: c.panic}, c.in), nil); got != c.want {
				t.Errorf("%v, panic below %v: %q = %q, want %q", a, c.panic, c.in, got, c.want)
			}
		}
	}
}

func TestTriedEndpointsAreAvoidedWhileAnotherIsLeft(t *testing.T) {
	for _, c := range []struct {
		in    string
		tried []int
		only  string // endpoints that may be chosen
		why   Reason
	}{
		{"HH", []int{0}, ".x", Normal},
		{"HHH", []int{0}, ".xx", Normal},
		{"HHF", []int{0}, ".x.", Normal},
		{"HHHHHH", []int{0, 2, 4}, ".x.x.x", Normal},
		{"HF", []int{0}, "x.", Normal}, // nobody else: once more
		{"H", []int{0}, "x", Normal},
		{"H|H", []int{0}, ".x", Backup},     // fail-over within the request
		{"HF|EH", []int{0}, "...x", Backup}, //
		{"HFF|HH", []int{3, 4}, "x....", Normal},
		{"HFFF", []int{1}, "x...", Panic},     // in panic the second attempt finds the survivor
		{"HFFF", []int{0}, ".xxx", Panic},     // and if that was tried, an untried one
		{"HFFD", []int{0}, ".xx.", Panic},     //
		{"EEE", []int{0, 1}, "..x", Panic},    //
		{"HFFF|H", []int{4}, "x....", Normal}, // the first tier was given up, but has a survivor
	} {
		for _, a := range algorithms {
			s := cluster(t, Config{Algorithm: a}, c.in)
			var tried Tried
			for _, i := range c.tried {
				tried.Add(s.Identity(i))
			}
			for k := range uint64(200) {
				i, why := s.Pick(t0, mix(k), mix(k), &tried)
				if c.only[i] != 'x' || why != c.why {
					t.Errorf("%v: %q without %v = %d %v, want one of %q %v", a, c.in, c.tried, i, why, c.only, c.why)
					break
				}
			}
		}
	}
}

func TestTriedForgetsTheOldestPastItsLimit(t *testing.T) {
	var tried Tried
	for i := range triedMax + 1 {
		tried.Add(fmt.Sprint(i))
	}
	if tried.has("0") || !tried.has("1") || !tried.has(fmt.Sprint(triedMax)) {
		t.Errorf("after %d attempts: %v", triedMax+1, tried)
	}
	tried.Reset()
	if tried.has("1") || tried.has("") {
		t.Error("a reset Tried still has something")
	}
}

func TestSlowStartRampsEffectiveWeight(t *testing.T) {
	s := newSet(t, Config{SlowStart: 10 * time.Second}, weighted(100, 100))
	s.SetHealth(1, Failing, t0)
	s.SetHealth(1, Healthy, t0)
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{
		{0, 10}, {time.Second, 19}, {5 * time.Second, 55}, {9 * time.Second, 91}, {10 * time.Second, 100}, {time.Hour, 100},
	} {
		if got := s.View(1, t0.Add(c.after)).Effective; got < c.want-1e-6 || got > c.want+1e-6 {
			t.Errorf("after %v the weight is %v, want %v", c.after, got, c.want)
		}
		if got := s.View(0, t0.Add(c.after)).Effective; got != 100 {
			t.Errorf("after %v the weight of the other is %v, want 100", c.after, got)
		}
	}
}

// A warming endpoint among n of equal weight ought to get ramp/(n-1+ramp).
func TestSlowStartShare(t *testing.T) {
	for _, n := range []int{2, 5} {
		for _, after := range []time.Duration{0, 5 * time.Second} {
			ramp := 0.1 + 0.9*float64(after)/float64(10*time.Second)
			want := ramp / (float64(n-1) + ramp)
			for _, c := range []struct {
				a         Algorithm
				low, high float64 // of want
			}{
				{RoundRobin, 0.95, 1.05}, {Weighted, 0.95, 1.05}, {Random, 0.95, 1.05}, {LeastRequest, 0.95, 1.05},
				{TwoChoices, 0.5, 2}, {Maglev, 0.5, 1.6},
			} {
				s := newSet(t, Config{Algorithm: c.a, SlowStart: 10 * time.Second}, list(n))
				s.SetHealth(0, Ejected, t0)
				s.SetHealth(0, Healthy, t0)
				const picks = 400_000
				got := 0
				for k := range uint64(picks) {
					if i, _ := s.Pick(t0.Add(after), mix(k), mix(k), nil); i == 0 {
						got++
					}
				}
				if share := float64(got) / picks; share < want*c.low || share > want*c.high {
					t.Errorf("%v: of %d endpoints the warming one gets %.4f after %v, want about %.4f", c.a, n, share, after, want)
				}
			}
		}
	}
}

func TestLeastRequestDoesNotFloodAWarmingEndpoint(t *testing.T) {
	s := newSet(t, Config{Algorithm: LeastRequest, SlowStart: 10 * time.Second}, list(2))
	s.SetHealth(1, Ejected, t0)
	s.Pick(t0, 0, 0, nil)
	s.SetHealth(1, Healthy, t0)
	for range 110 {
		i, _ := s.Pick(t0, 0, 0, nil)
		s.Start(i, t0)
	}
	if got := s.View(1, t0).InFlight; got < 9 || got > 11 {
		t.Errorf("at a tenth of its weight it has %d of 110 requests, want 10", got)
	}
}

func TestInherit(t *testing.T) {
	old := newSet(t, Config{Algorithm: LeastRequest, SlowStart: 10 * time.Second}, list(3)) // e0 e1 e2
	old.SetHealth(1, Failing, t0)
	old.SetHealth(2, Ejected, t0)
	old.SetHealth(2, Healthy, t0)
	old.Start(0, t0)
	old.Start(0, t0)
	old.Start(2, t0)
	old.Done(0, t0.Add(time.Millisecond), 7*time.Millisecond, Succeeded)

	now := t0.Add(5 * time.Second)
	s := newSet(t, Config{Algorithm: LeastRequest, SlowStart: 10 * time.Second},
		[]Endpoint{{Identity: "e2"}, {Identity: "new"}, {Identity: "e1"}, {Identity: "e0"}})
	s.Inherit(old, now)
	for _, c := range []struct {
		i    int
		want string
	}{
		{0, "e2 in flight 1, latency 0s, healthy, weight 0.55, in pool true"},
		{1, "new in flight 0, latency 0s, healthy, weight 0.10, in pool true"},
		{2, "e1 in flight 0, latency 0s, failing, weight 1.00, in pool false"},
		{3, "e0 in flight 1, latency 7ms, healthy, weight 1.00, in pool true"},
	} {
		v := s.View(c.i, now)
		got := fmt.Sprintf("%s in flight %d, latency %v, %v, weight %.2f, in pool %v", v.Identity, v.InFlight, v.Latency, v.Health, v.Effective, v.InPool)
		if got != c.want {
			t.Errorf("endpoint %d\n got %s\nwant %s", c.i, got, c.want)
		}
	}

	// What the old set was given ends there and counts here: e0, idle again, is preferred over e2.
	s.SetHealth(1, Drained, now)
	old.Done(0, now, 9*time.Millisecond, Succeeded)
	if v := s.View(3, now); v.InFlight != 0 || v.Latency != 9*time.Millisecond {
		t.Errorf("after its end on the old set e0 has %d in flight, latency %v", v.InFlight, v.Latency)
	}
	for range 5 {
		if i, _ := s.Pick(now, 0, 0, nil); i != 3 {
			t.Errorf("picked %s, want the idle e0", s.Identity(i))
		}
	}
	old.Done(2, now, time.Millisecond, Abandoned)
	if v := s.View(0, now); v.InFlight != 0 || v.Latency != 0 {
		t.Errorf("an abandoned request left %d in flight, latency %v", v.InFlight, v.Latency)
	}
}

func TestInheritOfNothingIsNoSlowStart(t *testing.T) {
	s := newSet(t, Config{SlowStart: time.Second}, list(1))
	s.Inherit(newSet(t, Config{}, nil), t0)
	if got := s.View(0, t0).Effective; got != 1 {
		t.Errorf("the first endpoint of a cluster starts at %v, want 1", got)
	}
}

func TestAlgorithmNames(t *testing.T) {
	for _, a := range algorithms {
		if got, ok := ParseAlgorithm(a.String()); !ok || got != a {
			t.Errorf("ParseAlgorithm(%q) = %v, %v", a.String(), got, ok)
		}
	}
	if _, ok := ParseAlgorithm("best"); ok {
		t.Error("there is an algorithm called best")
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, a := range algorithms {
		s := newSet(t, Config{Algorithm: a, SlowStart: time.Second, Seed: 1}, weighted(1, 2, 3, 4, 5, 6, 7, 8))
		var tried Tried
		tried.Add("e0")
		now := t0
		k := uint64(0)
		if n := testing.AllocsPerRun(1000, func() {
			k++
			now = now.Add(time.Millisecond)
			i, _ := s.Pick(now, mix(k), mix(k), nil)
			s.Start(i, now)
			j, _ := s.Pick(now, mix(k), mix(k), &tried)
			s.Done(i, now, time.Millisecond, Succeeded)
			s.SetHealth(j, Health(k%3), now)
		}); n != 0 {
			t.Errorf("%v allocates %v times", a, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, a := range algorithms {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%v/%d", a, n), func(b *testing.B) {
				s := New(Config{Algorithm: a}, list(n), t0)
				now, k := t0, uint64(0)
				b.ReportAllocs()
				for b.Loop() {
					k++
					now += 1000
					r := mix(k)
					i, _ := s.Pick(now, r, r, nil)
					s.Start(i, now)
					s.Done(i, now, time.Millisecond, Succeeded)
				}
			})
		}
	}
}

func BenchmarkRebuild(b *testing.B) {
	for _, a := range []Algorithm{RoundRobin, Weighted} {
		s := New(Config{Algorithm: a}, list(1000), t0)
		b.Run(fmt.Sprintf("%v/1000", a), func(b *testing.B) {
			h := Healthy
			for b.Loop() {
				h ^= Failing
				s.SetHealth(7, h, t0)
				s.Pick(t0, 1, 1, nil)
			}
		})
	}
}
