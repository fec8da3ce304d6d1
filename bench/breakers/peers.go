package breakers

import (
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/sony/gobreaker/v2"
)

var errFailed = errors.New("failed")

// Sony is github.com/sony/gobreaker, two-step.
type Sony struct {
	of   *gobreaker.TwoStepCircuitBreaker[bool]
	slow time.Duration
	done map[uint64]func(error)
	next uint64
}

// NewSony returns it. It knows no slow calls: slow ones are told as failures.
func NewSony(window time.Duration, volume uint32, share float64, consecutive uint32, slow, open time.Duration, probes uint32) *Sony {
	return &Sony{slow: slow, done: map[uint64]func(error){}, of: gobreaker.NewTwoStepCircuitBreaker[bool](gobreaker.Settings{
		MaxRequests: probes, Interval: window, BucketPeriod: window / 10, Timeout: open,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return consecutive > 0 && c.ConsecutiveFailures >= consecutive ||
				c.Requests >= volume && float64(c.TotalFailures) >= share*float64(c.TotalSuccesses+c.TotalFailures) && c.TotalFailures > 0
		},
	})}
}

// Admit is for Candidate.
func (s *Sony) Admit(time.Duration) (uint64, bool) {
	done, err := s.of.Allow()
	if err != nil {
		return 0, false
	}
	s.next++
	s.done[s.next] = done
	return s.next, true
}

// Done is for Candidate.
func (s *Sony) Done(_ time.Duration, ticket uint64, r *Request) {
	done := s.done[ticket]
	delete(s.done, ticket)
	if r.Failed || s.slow > 0 && r.Latency >= s.slow {
		done(errFailed)
		return
	}
	done(nil)
}

// Tick is for Candidate.
func (s *Sony) Tick(time.Duration) {}

// Open is for Candidate.
func (s *Sony) Open() bool { return s.of.State() == gobreaker.StateOpen }

// Passing is for Candidate.
func (s *Sony) Passing() bool { return s.of.State() == gobreaker.StateClosed }

// Failsafe is github.com/failsafe-go/failsafe-go/circuitbreaker.
type Failsafe struct {
	of   circuitbreaker.CircuitBreaker[any]
	slow time.Duration
}

// NewFailsafe returns it. It has one condition: a share of failures over a window, from a volume on. Slow calls are told as failures.
func NewFailsafe(window time.Duration, volume uint, share float64, slow, open time.Duration, probes uint) *Failsafe {
	return &Failsafe{slow: slow, of: circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(share, volume, window).WithDelay(open).WithSuccessThreshold(probes).Build()}
}

// Admit is for Candidate.
func (f *Failsafe) Admit(time.Duration) (uint64, bool) { return 0, f.of.TryAcquirePermit() }

// Done is for Candidate.
func (f *Failsafe) Done(_ time.Duration, _ uint64, r *Request) {
	if r.Failed || f.slow > 0 && r.Latency >= f.slow {
		f.of.RecordFailure()
		return
	}
	f.of.RecordSuccess()
}

// Tick is for Candidate.
func (f *Failsafe) Tick(time.Duration) {}

// Open is for Candidate.
func (f *Failsafe) Open() bool { return f.of.IsOpen() }

// Passing is for Candidate.
func (f *Failsafe) Passing() bool { return f.of.IsClosed() }
