package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/yumen-io/yumen/kit/internal/answer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// State is whether calls pass.
type State uint8

// States.
const (
	Closed   State = iota // all pass
	Open                  // none does, or few
	HalfOpen              // probes do, then a share
)

var stateWords = [...]string{"closed", "open", "half_open"}

// String returns the word of logs and metrics.
func (s State) String() string { return stateWords[s] }

// ReasonOpen is the word of refusals, the gateway's too.
const ReasonOpen = "breaker_open"

// Numbers are how calls ended.
type Numbers struct {
	Total, Failures         uint32
	ErrorRatio              float64
	TimeoutRatio, SlowRatio float64
	P95                     time.Duration
	Consecutive             uint32  // failures in a row
	Score                   float64 // of the last second, by the adaptive rule; 0 while it has learnt too little or is off
}

// Decision is how a call was judged, and by what.
type Decision struct {
	Key     string
	Allowed bool
	Mode    Mode
	Probe   bool // it is one of those by which the breaker finds out
	State   State
	Share   float64 // of calls that pass beside the probes
	Cause   string  // why it opened last: error_ratio, slow_ratio, consecutive, score, probes_failed; empty if it has not
	// Numbers are those that opened it last.
	Numbers Numbers
	// RetryAfter is when a refused call may pass at the earliest, at least a second.
	RetryAfter time.Duration
}

// Refused tells whether the decision took effect as a refusal.
func (d *Decision) Refused() bool { return !d.Allowed && d.Mode == Enforce }

// String explains the decision in one line.
func (d *Decision) String() string {
	word := "allowed"
	if !d.Allowed {
		word = "refused (" + ReasonOpen + ")"
	}
	if d.Mode == Shadow {
		word += " in shadow"
	}
	s := fmt.Sprintf("breaker %s: %s: %s", d.Key, word, d.State)
	if d.Cause != "" {
		n := &d.Numbers
		s += fmt.Sprintf(", opened by %s: %d of %d calls failed, %d in a row, p95 %v", d.Cause, n.Failures, n.Total, n.Consecutive, n.P95.Round(time.Millisecond))
	}
	if d.RetryAfter > 0 {
		s += fmt.Sprintf(", retry after %v", d.RetryAfter.Round(time.Millisecond))
	}
	return s
}

// Change is one change of a state, and what led to it.
type Change struct {
	Key      string
	At       time.Time
	From, To State
	// Cause is that of Decision, or time_over, probes_passed, recovered, ordered.
	Cause   string
	Numbers Numbers       // of the window, or of the step of half-open
	OpenFor time.Duration // if it opened
	// Top is the feature that contributed most to the score (p95, error_ratio, timeout_ratio), and Typical its middle value in healthy seconds:
	// nanoseconds, or a share. Empty and 0 if the score had no part in it.
	Top     string
	Typical float64
}

// ErrOpen is what each *Error is, for errors.Is.
var ErrOpen = errors.New("refused by a breaker")

// Error is a refusal. It is also a gRPC status, UNAVAILABLE, that says when to come again.
type Error struct{ Decision Decision }

func (e *Error) Error() string { return e.Decision.String() }

// Is makes errors.Is(err, ErrOpen) true.
func (e *Error) Is(target error) bool { return target == ErrOpen }

// NotSent tells other packages of the kit that the request went nowhere: a retry does not repeat it.
func (e *Error) NotSent() bool { return true }

// HTTPStatus is 503.
func (e *Error) HTTPStatus() int { return 503 }

// GRPCStatus is for status.FromError. It carries a RetryInfo.
func (e *Error) GRPCStatus() *status.Status { return e.refusal().GRPC() }

// refusal is what clients are told.
func (e *Error) refusal() *answer.Refusal {
	return &answer.Refusal{Status: e.HTTPStatus(), Code: codes.Unavailable, Text: e.text(), Reason: ReasonOpen, After: e.Decision.RetryAfter}
}

func (e *Error) text() string {
	if e.Decision.State == HalfOpen {
		return "This service is recovering, and takes few requests for now."
	}
	return "This service failed too often, and gets no requests for now."
}
