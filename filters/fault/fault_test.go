package fault

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/fault"
)

func TestSpecsThatMeanNothing(t *testing.T) {
	abort := &Abort{Status: 503}
	many := make([]Match, matchesMax+1)
	for _, c := range []struct {
		spec Spec
		want string // field and cause
	}{
		{Spec{After: 1}, ": the filter injects nothing"},
		{Spec{Abort: abort}, ": nothing ends the experiment"},
		{Spec{Abort: abort, Share: 0.1}, ": nothing ends the experiment"},
		{Spec{Delay: &fault.Delay{}, After: 1}, "delay: "},
		{Spec{Abort: abort, Reset: true, After: 1}, "reset: "},
		{Spec{Abort: abort, Cut: 1, After: 1}, "cut: "},
		{Spec{Cut: -1, After: 1}, "cut: "},
		{Spec{Abort: abort, Slow: 1, After: 1}, "slow: "},
		{Spec{Reset: true, Slow: 1, After: 1}, "slow: "},
		{Spec{Slow: -1, After: 1}, "slow: "},
		{Spec{Slow: gateway.ValveRateMax + 1, After: 1}, "slow: "},
		{Spec{Slow: gateway.ValveRateMax, Cut: 1, After: 1}, ""},
		{Spec{Abort: &Abort{Status: 200}, After: 1}, "abort: "},
		{Spec{Abort: &Abort{GRPC: 17}, After: 1}, "abort: "},
		{Spec{Abort: abort, Share: 2, After: 1}, "budget.share: "},
		{Spec{Abort: abort, When: When{Share: -1}, After: 1}, "when.share: "},
		{Spec{Abort: abort, When: When{Headers: many}, After: 1}, "when: "},
		{Spec{Abort: abort, Stop: &fault.Limits{Over: time.Second}, After: 1}, "stop_when: "},
		{Spec{Abort: abort, Stop: &fault.Limits{ErrorRatio: 0.1, Over: time.Hour}, After: 1}, "stop_when: "},
		{Spec{Abort: abort, Requests: 1}, ""},
		{Spec{Cut: 1, Expires: time.Unix(1, 0)}, ""},
	} {
		_, problems := Compile(c.spec, gateway.NewGuard("fault", "test", gateway.Enforce, nil), nil)
		got := ""
		if problems != nil {
			got = problems[0].Field + ": " + problems[0].Cause
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%+v: %s, want %s", c.spec, got, c.want)
		}
	}
}

func TestTheBudgetIsExactOverLoops(t *testing.T) {
	var s state
	var wait sync.WaitGroup
	var got [8]int
	for i := range got {
		wait.Go(func() {
			for range 1000 {
				if s.spend(777) {
					got[i]++
				}
			}
		})
	}
	wait.Wait()
	sum := 0
	for _, n := range got {
		sum += n
	}
	// Whoever asks while another one takes the last may be told that there is none: never more, and hardly less.
	if sum > 777 || sum < 777-len(got) || s.spent.Load() != int64(sum) {
		t.Errorf("%d were affected, %d are noted, of 777", sum, s.spent.Load())
	}
}

// A configuration that follows another has its state: the budget, the beginning, and that it was stopped.
func TestWhatIsRemembered(t *testing.T) {
	memory := gateway.NewMemory()
	make := func(s Spec, mode gateway.Mode) *Filter {
		s.Abort = &Abort{}
		r := memory.Recollect()
		f, problems := Compile(s, gateway.NewGuard("fault", "test", mode, r), r)
		if f == nil {
			t.Fatal(problems)
		}
		r.Hold()
		return f
	}
	first := make(Spec{Requests: 1}, gateway.Enforce)
	first.state.spend(1)
	for _, c := range []struct {
		spec Spec
		mode gateway.Mode
		want int64
	}{
		{Spec{Requests: 5, Share: 0.5, After: time.Hour}, gateway.Enforce, 1},
		{Spec{Requests: 5, Experiment: "test"}, gateway.Enforce, 1},
		{Spec{Requests: 5, Experiment: "again"}, gateway.Enforce, 0},
		{Spec{Requests: 1}, gateway.Shadow, 0},
	} {
		if got := make(c.spec, c.mode).state.spent.Load(); got != c.want {
			t.Errorf("%+v: %d are spent, want %d", c.spec, got, c.want)
		}
	}
}

func TestWhenItIsOver(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		terms terms
		after time.Duration
		want  bool
	}{
		{terms{}, 1000 * time.Hour, false},
		{terms{after: time.Minute}, time.Minute - 1, false},
		{terms{after: time.Minute}, time.Minute, true},
		{terms{expires: start.Add(time.Second)}, 0, false},
		{terms{expires: start.Add(time.Second)}, time.Second, true},
		{terms{after: time.Hour, expires: start.Add(time.Second)}, time.Second, true},
	} {
		var s state
		s.Tick(0, start)
		s.Tick(mono.Time(c.after), start.Add(c.after)) // begins nothing anew
		if got := s.over(&c.terms, start.Add(c.after)); got != c.want {
			t.Errorf("%+v after %s: %v", c.terms, c.after, got)
		}
	}
}

func TestStoppedByTheTicker(t *testing.T) {
	var s state
	s.terms.Store(&terms{stop: &fault.Limits{ErrorRatio: 0.1, Over: 10 * time.Second}})
	c := new(cell)
	s.loops[3].Store(c)
	s.Tick(0, time.Unix(1, 0))
	c.total.Store(100)
	c.errors.Store(20)
	s.Tick(mono.Time(100*time.Millisecond), time.Unix(1, 0))
	why := s.ended.Load()
	if why == nil || !strings.HasPrefix(*why, "error_ratio 20% of 100") {
		t.Fatalf("%v", why)
	}
	s.Tick(mono.Time(time.Hour), time.Unix(4000, 0))
	if s.ended.Load() != why {
		t.Error("it goes on, or is stopped twice")
	}
}

// Each end is told once: in the log, and as a number. Other terms may let an experiment go on that was not stopped, which then ends
// anew.
func TestEachEndIsToldOnce(t *testing.T) {
	start := time.Unix(1000, 0)
	budget := &terms{requests: 3, after: time.Hour, stop: &fault.Limits{ErrorRatio: 0.1, Over: 10 * time.Second}}
	more := &terms{requests: 4, after: time.Hour}
	ill := &terms{requests: 9, after: 2 * time.Hour, stop: &fault.Limits{ErrorRatio: 0.1, Over: 10 * time.Second}}
	var s state
	c := new(cell)
	s.loops[0].Store(c)
	for i, step := range []struct {
		terms *terms
		spent int64
		after time.Duration
		fails uint64 // requests so far
		told  end
		ends  [4]uint64
	}{
		{nil, 0, 0, 0, goesOn, [4]uint64{}},
		{budget, 2, time.Second, 0, goesOn, [4]uint64{}},
		{budget, 3, 2 * time.Second, 0, usedUp, [4]uint64{usedUp: 1}},
		{budget, 3, 3 * time.Second, 0, usedUp, [4]uint64{usedUp: 1}},
		{budget, 3, 2 * time.Hour, 0, usedUp, [4]uint64{usedUp: 1}},
		{more, 3, 4 * time.Second, 0, goesOn, [4]uint64{usedUp: 1}},
		{more, 4, 5 * time.Second, 0, usedUp, [4]uint64{usedUp: 2}},
		{&terms{requests: 9, after: time.Hour}, 4, time.Hour, 0, expired, [4]uint64{usedUp: 2, expired: 1}},
		{ill, 4, time.Hour, 100, goesOn, [4]uint64{usedUp: 2, expired: 1}}, // those that failed meanwhile are nobody's
		{ill, 4, time.Hour + time.Second, 100, goesOn, [4]uint64{usedUp: 2, expired: 1}},
		{ill, 4, time.Hour + 2*time.Second, 200, stopped, [4]uint64{stopped: 1, usedUp: 2, expired: 1}},
		{ill, 9, 3 * time.Hour, 200, stopped, [4]uint64{stopped: 1, usedUp: 2, expired: 1}},
	} {
		if step.terms != nil {
			s.terms.Store(step.terms)
		}
		s.spent.Store(step.spent)
		c.total.Store(step.fails)
		c.errors.Store(step.fails)
		s.Tick(mono.Time(step.after), start.Add(step.after))
		var ends [4]uint64
		for how := range s.ends {
			ends[how] = s.ends[how].Load()
		}
		if s.told != step.told || ends != step.ends {
			t.Errorf("step %d: %q, %v, want %q, %v", i, endWords[s.told], ends, endWords[step.told], step.ends)
		}
	}
}

// The body comes in parts of each size.
func TestBodiesAreCutWhereTheyShall(t *testing.T) {
	const text = "0123456789"
	for left := int64(1); left <= int64(len(text))+1; left++ {
		for size := 1; size <= len(text); size++ {
			p := buf.NewPool(1 << 20)
			s, got, cut := &cutting{left: left}, "", false
			var out buf.Chain
			for rest := text; rest != "" && !cut; {
				n := min(size, len(rest))
				var in buf.Chain
				in.AppendString(p, rest[:n])
				cut = s.Data(&in, n, &out, p) != nil
				if in.Len() != 0 {
					t.Fatalf("%d bytes are left", in.Len())
				}
				in.Release(p)
				rest = rest[n:]
			}
			cut = cut || s.End(&out, p) != nil
			got = string(out.Pull(p, out.Len())[:out.Len()])
			out.Release(p)
			if want := text[:min(left, int64(len(text)))]; got != want || cut != (left < int64(len(text))) {
				t.Errorf("after %d, by %d: %q, cut %v", left, size, got, cut)
			}
			if p.InUse() != 0 {
				t.Errorf("%d bytes are held", p.InUse())
			}
		}
	}
}

func TestStatusOfACall(t *testing.T) {
	for status := 1; status <= 16; status++ {
		h := &message.Head{}
		h.AddString("grpc-status", "14")
		setStatus(h, status)
		if v, _ := h.Field([]byte("grpc-status")); string(v) != fmt.Sprint(status) {
			t.Errorf("%s, want %d", v, status)
		}
	}
}

func TestWhatItSaysOfItself(t *testing.T) {
	f, _ := Compile(Spec{Delay: &fault.Delay{Time: time.Second}, Abort: &Abort{Status: 500}, Requests: 5, Share: 0.05, After: time.Hour, Expires: time.Unix(0, 0),
		When: When{Share: 0.01, Headers: []Match{{"x-a", "b"}}, Claims: []Match{{"sub", ""}}, Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		gateway.NewGuard("fault", "test", gateway.Enforce, nil), nil)
	const want = "delays by 1s and answers 500 1% of requests with header x-a=b and claim sub and clients of 1 networks, 5 at most, 5% of all at most, until 1970-01-01T00:00:00Z, for 1h0m0s"
	if got := f.String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	f, _ = Compile(Spec{Slow: 1024, Cut: 1000, Requests: 1}, gateway.NewGuard("fault", "body", gateway.Enforce, nil), nil)
	if got, want := f.String(), "slows answers down to 1024 bytes a second and cuts answers after 1000 bytes requests, 1 at most"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
