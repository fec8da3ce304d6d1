package balance

import (
	"container/heap"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// sim runs a cluster in virtual time: a request every gap, each endpoint answering after serve(endpoint, now).
type sim struct {
	s      *Set
	now    mono.Time
	ends   ends
	counts []int
}

type end struct {
	at      mono.Time
	i       int
	latency time.Duration
	result  Result
}

type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any          { x := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

func (m *sim) run(d, gap time.Duration, serve func(i int) (time.Duration, Result)) {
	m.counts = make([]int, len(m.s.endpoints))
	for stop := m.now.Add(d); m.now < stop; m.now = m.now.Add(gap) {
		for len(m.ends) > 0 && m.ends[0].at <= m.now {
			e := heap.Pop(&m.ends).(end)
			m.s.Done(e.i, e.at, e.latency, e.result)
		}
		i, _ := m.s.Pick(m.now, mix(uint64(m.now)), 0, nil)
		m.s.Start(i, m.now)
		m.counts[i]++
		latency, result := serve(i)
		heap.Push(&m.ends, end{m.now.Add(latency), i, latency, result})
	}
}

func (m *sim) share(i int) float64 {
	n := 0
	for _, c := range m.counts {
		n += c
	}
	return float64(m.counts[i]) / float64(n)
}

func TestTwoChoicesAvoidsASlowEndpointAndForgives(t *testing.T) {
	m := &sim{s: New(Config{Algorithm: TwoChoices}, list(10), t0), now: t0}
	even := func(int) (time.Duration, Result) { return 5 * time.Millisecond, Succeeded }
	slow := func(i int) (time.Duration, Result) {
		if i == 3 {
			return 50 * time.Millisecond, Succeeded
		}
		return 5 * time.Millisecond, Succeeded
	}
	const gap = 500 * time.Microsecond // 2000/s: ten in flight in all

	m.run(5*time.Second, gap, even)
	for i := range m.counts {
		if got := m.share(i); got < 0.08 || got > 0.12 {
			t.Errorf("all alike: endpoint %d gets %.3f, want 0.1", i, got)
		}
	}
	m.run(2*time.Second, gap, slow)
	if got := m.share(3); got > 0.01 {
		t.Errorf("ten times slower, in the first 2 s: %.4f of the requests, want at most 0.01", got)
	}
	m.run(10*time.Second, gap, slow)
	if got := m.share(3); got > 0.01 || got == 0 {
		t.Errorf("ten times slower, later: %.4f of the requests, want little but not nothing", got)
	}
	m.run(60*time.Second, gap, even)
	m.run(5*time.Second, gap, even)
	if got := m.share(3); got < 0.08 || got > 0.12 {
		t.Errorf("recovered for a minute: %.3f, want 0.1", got)
	}
}

func TestTwoChoicesDoesNotTakeFastFailuresForSpeed(t *testing.T) {
	for _, warm := range []bool{false, true} {
		m := &sim{s: New(Config{Algorithm: TwoChoices}, list(10), t0), now: t0}
		const gap = 500 * time.Microsecond
		if warm {
			m.run(5*time.Second, gap, func(int) (time.Duration, Result) { return 5 * time.Millisecond, Succeeded })
		}
		m.run(20*time.Second, gap, func(i int) (time.Duration, Result) {
			if i == 0 {
				return 50 * time.Microsecond, Failed
			}
			return 5 * time.Millisecond, Succeeded
		})
		if got := m.share(0); got > 0.02 {
			t.Errorf("an endpoint that fails at once gets %.4f of the requests (measured before: %v), want at most 0.02", got, warm)
		}
	}
}

func TestTwoChoicesRareFailuresDoNotMatter(t *testing.T) {
	m := &sim{s: New(Config{Algorithm: TwoChoices}, list(5), t0), now: t0}
	k := 0
	m.run(20*time.Second, time.Millisecond, func(i int) (time.Duration, Result) {
		if k++; i == 0 && k%100 == 0 {
			return 5 * time.Millisecond, Failed
		}
		return 5 * time.Millisecond, Succeeded
	})
	if got := m.share(0); got < 0.15 {
		t.Errorf("one failure in a hundred leaves %.3f of the requests, want about 0.2", got)
	}
}

func TestTwoChoicesOneSlowRequestDoesNotBanishItsEndpoint(t *testing.T) {
	m := &sim{s: New(Config{Algorithm: TwoChoices}, list(5), t0), now: t0}
	m.run(5*time.Second, time.Millisecond, func(int) (time.Duration, Result) { return 5 * time.Millisecond, Succeeded })
	m.s.Start(0, m.now)
	m.s.Done(0, m.now, 30*time.Second, Succeeded)
	m.run(30*time.Second, time.Millisecond, func(int) (time.Duration, Result) { return 5 * time.Millisecond, Succeeded })
	if got := m.share(0); got < 0.05 {
		t.Errorf("in the 30 s after one request of 30 s: %.3f of the requests, want at least 0.05", got)
	}
}

func TestTwoChoicesReturnsFromAbsenceWithoutAStampede(t *testing.T) {
	m := &sim{s: New(Config{Algorithm: TwoChoices}, list(10), t0), now: t0}
	even := func(int) (time.Duration, Result) { return 5 * time.Millisecond, Succeeded }
	m.run(5*time.Second, time.Millisecond, even)
	m.s.SetHealth(4, Ejected, m.now)
	m.run(2*time.Minute, time.Millisecond, even)
	m.s.SetHealth(4, Healthy, m.now)
	m.run(time.Second, time.Millisecond, even)
	if got := m.share(4); got > 0.2 {
		t.Errorf("back after two minutes it gets %.3f of the requests, want at most twice its share", got)
	}
}

func TestAbandonedRequestsTeachNothing(t *testing.T) {
	s := New(Config{Algorithm: TwoChoices}, list(2), t0)
	s.Start(0, t0)
	s.Done(0, t0, time.Minute, Abandoned)
	if v := s.View(0, t0); v.Latency != 0 || v.Failures != 0 || v.InFlight != 0 {
		t.Errorf("after an abandoned request: %+v", v)
	}
}
