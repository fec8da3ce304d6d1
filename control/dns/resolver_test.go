package dns

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// stage is a resolver whose server and clock the test plays.
type stage struct {
	*Resolver
	t       *testing.T
	changed chan string        // what Changed was called with
	waits   chan time.Duration // how long the resolver wants to wait
	ticks   chan time.Time     // that the time has come

	mu struct {
		sync.Mutex
		answers map[string]string // addresses by name; an answer that begins with '!' is an error
		asked   []string
		now     time.Time
	}
}

func newStage(t *testing.T, endpoints []compile.EndpointPlan, known map[string][]netip.Addr, answers map[string]string) *stage {
	s := &stage{t: t, changed: make(chan string, 1), waits: make(chan time.Duration), ticks: make(chan time.Time)}
	s.mu.answers, s.mu.now = answers, time.Unix(1000, 0)
	s.Resolver = New(Config{
		Endpoints: endpoints, Refresh: 30 * time.Second, Timeout: time.Second, Known: known, Lookup: s.lookup,
		Changed: func(targets []upstream.Target) { s.changed <- text(targets) },
		Clock: Clock{
			Now:    func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.mu.now },
			After:  s.after,
			Random: func() float64 { return 0.5 },
		},
	})
	return s
}

func (s *stage) after(d time.Duration) <-chan time.Time {
	select {
	case s.waits <- d:
	case <-s.ctx.Done():
	}
	return s.ticks
}

func (s *stage) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded || network != "ip" {
		s.t.Errorf("asked for %s %s without a bound", network, host)
	}
	s.mu.asked = append(s.mu.asked, host)
	answer := s.mu.answers[host]
	if message, failed := strings.CutPrefix(answer, "!"); failed {
		return nil, errors.New(message)
	}
	var list []netip.Addr
	for _, a := range strings.Fields(answer) {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

// answer changes what the server says of a name.
func (s *stage) answer(host, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.answers = maps.Clone(s.mu.answers)
	s.mu.answers[host] = answer
	s.mu.now = s.mu.now.Add(time.Second)
}

// round lets one round take place and returns what Changed was told, nothing if it was not called.
func (s *stage) round() (changed string) {
	s.t.Helper()
	s.ticks <- time.Time{}
	<-s.waits // for the next round: this one is over
	select {
	case c := <-s.changed:
		return c
	default:
		return ""
	}
}

func text(targets []upstream.Target) string {
	var list []string
	for _, t := range targets {
		list = append(list, t.Addr.String())
	}
	return strings.Join(list, " ")
}

func name(host string, port uint16) compile.EndpointPlan {
	return compile.EndpointPlan{Address: host, Host: host, Port: port, Weight: 1}
}

func address(s string) compile.EndpointPlan {
	addr := netip.MustParseAddrPort(s)
	return compile.EndpointPlan{Address: s, Addr: addr, Host: addr.Addr().String(), Port: addr.Port(), Weight: 1}
}

// begin makes the first round and starts the goroutine.
func (s *stage) begin(want string) {
	s.t.Helper()
	if err := s.First(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	if got := text(s.Targets()); got != want {
		s.t.Fatalf("targets %s, want %s", got, want)
	}
	s.Start()
	s.t.Cleanup(s.Stop)
	<-s.waits
}

func (s *stage) expect(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("changed to %q, want %q", got, want)
	}
}

func TestAnAnswerThatDiffersInOrderAloneIsNoChange(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("app", 80)}, nil, map[string]string{"app": "10.0.0.2 10.0.0.1"})
	s.begin("10.0.0.1:80 10.0.0.2:80")
	s.expect(s.round(), "")
	s.answer("app", "10.0.0.1 10.0.0.2 10.0.0.1")
	s.expect(s.round(), "")
	s.answer("app", "10.0.0.3 10.0.0.1")
	s.expect(s.round(), "10.0.0.1:80 10.0.0.3:80")
	s.expect(s.round(), "")
}

func TestAFailingOrEmptyAnswerTakesNothingAway(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("app", 80)}, nil, map[string]string{"app": "10.0.0.1"})
	s.begin("10.0.0.1:80")
	for i, bad := range []string{"!server failure", ""} {
		s.answer("app", bad)
		s.expect(s.round(), "")
		if got := text(s.Targets()); got != "10.0.0.1:80" {
			t.Errorf("after %q: %s", bad, got)
		}
		if st := s.Statuses()[0]; st.LastError == nil || st.Failures != i+1 || !st.LastSuccess.Equal(time.Unix(1000, 0)) {
			t.Errorf("after %q: %+v", bad, st)
		}
	}
	if !errors.Is(s.Statuses()[0].LastError, ErrEmpty) {
		t.Errorf("%v", s.Statuses()[0].LastError)
	}
	s.answer("app", "10.0.0.2")
	s.expect(s.round(), "10.0.0.2:80")
	if st := s.Statuses()[0]; st.LastError != nil || st.Failures != 0 || !st.LastSuccess.Equal(time.Unix(1003, 0)) {
		t.Errorf("%+v", st)
	}
}

func TestOneFailingNameLeavesTheOthersInStep(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("a", 80), address("10.0.9.9:90"), name("b", 81)}, nil,
		map[string]string{"a": "10.0.0.1", "b": "10.0.1.1 2001:db8::1"})
	s.begin("10.0.0.1:80 10.0.9.9:90 10.0.1.1:81 [2001:db8::1]:81")
	s.answer("a", "!timeout")
	s.answer("b", "2001:db8::2")
	s.expect(s.round(), "10.0.0.1:80 10.0.9.9:90 [2001:db8::2]:81")
}

func TestAnAddressThatSeveralEndpointsLeadToIsThereOnce(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("a", 80), name("b", 80), name("a", 81), address("10.0.0.2:80")}, nil,
		map[string]string{"a": "10.0.0.1 ::ffff:10.0.0.1", "b": "10.0.0.1 10.0.0.2"})
	s.begin("10.0.0.1:80 10.0.0.2:80 10.0.0.1:81")
	slices.Sort(s.mu.asked)
	if got := strings.Join(s.mu.asked, " "); got != "a b" {
		t.Errorf("asked for %s", got)
	}
}

func TestARoundAfterAFailureComesSooner(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("app", 80)}, nil, map[string]string{"app": "10.0.0.1"})
	if err := s.First(context.Background()); err != nil {
		t.Fatal(err)
	}
	f := func(random float64, want time.Duration) {
		t.Helper()
		s.cfg.Clock.Random = func() float64 { return random }
		if got := s.pause(); got != want {
			t.Errorf("pause %s, want %s", got, want)
		}
	}
	f(0, 27*time.Second)
	f(0.5, 30*time.Second)
	f(1, 33*time.Second)
	s.answer("app", "!refused")
	s.ask(context.Background())
	f(0.5, retryAfter)
}

func TestFirstSaysWhichNamesHaveNoAddress(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("a", 80), name("b", 80), name("c", 80)}, map[string][]netip.Addr{"c": {netip.MustParseAddr("10.0.0.9")}},
		map[string]string{"a": "10.0.0.1", "b": "!no such host", "c": "!timeout"})
	err := s.First(context.Background())
	if err == nil || err.Error() != `resolve "b": no such host` {
		t.Errorf("%v", err)
	}
	// What is known from before stands while the server does not answer.
	if got := text(s.Targets()); got != "10.0.0.1:80 10.0.0.9:80" {
		t.Errorf("targets %s", got)
	}
	if known := s.Answers(); len(known) != 2 || len(known["b"]) != 0 {
		t.Errorf("known %v", known)
	}
}

func TestGivingUpAQuestionTeachesNothing(t *testing.T) {
	s := newStage(t, []compile.EndpointPlan{name("a", 80)}, nil, map[string]string{"a": "10.0.0.1"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.First(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if st := s.Statuses()[0]; st.Failures != 0 || st.LastError != nil {
		t.Errorf("%+v", st)
	}
}

func TestStopEndsAQuestionUnderWay(t *testing.T) {
	asked := make(chan struct{})
	r := New(Config{
		Endpoints: []compile.EndpointPlan{name("a", 80)}, Timeout: time.Hour,
		Lookup: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			close(asked)
			<-ctx.Done()
			return nil, ctx.Err()
		},
		Clock:   Clock{After: func(time.Duration) <-chan time.Time { c := make(chan time.Time, 1); c <- time.Time{}; return c }},
		Changed: func([]upstream.Target) { t.Error("changed after Stop") },
	})
	r.Start()
	<-asked
	r.Stop()
}

func TestStopWithoutStart(t *testing.T) {
	New(Config{Endpoints: []compile.EndpointPlan{name("a", 80)}}).Stop()
}

func TestAnAnswerIsBounded(t *testing.T) {
	var list []netip.Addr
	for i := range 1000 {
		list = append(list, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if got := tidy(list); len(got) != addrsMax || got[0].String() != "10.0.0.0" {
		t.Errorf("%d addresses from %s", len(got), got[0])
	}
}

// TestTheRealResolver asks the resolver of this machine for the one name that every machine knows.
func TestTheRealResolver(t *testing.T) {
	r := New(Config{Endpoints: []compile.EndpointPlan{name("localhost", 80)}, Refresh: time.Hour, Timeout: 5 * time.Second,
		Changed: func([]upstream.Target) {}})
	if err := r.First(context.Background()); err != nil {
		t.Skip("this machine does not know localhost:", err)
	}
	r.Start()
	r.Stop()
	for _, target := range r.Targets() {
		if !target.Addr.Addr().IsLoopback() || target.Addr.Port() != 80 {
			t.Errorf("localhost is %s", target.Addr)
		}
	}
}
