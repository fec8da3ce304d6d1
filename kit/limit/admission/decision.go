package admission

import (
	"fmt"
	"time"

	"github.com/yumen-io/yumen/kit/internal/answer"
	"github.com/yumen-io/yumen/kit/limit"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reasons of refusals, the same words as the gateway's.
const (
	ReasonFull    = "admission_queue_full" // the tenant has no room in the queue
	ReasonTimeout = "admission_timeout"    // it waited for WaitMax
	ReasonLate    = "admission_deadline"   // it could not be answered in time
)

// Decision is how a request was judged, and by which numbers.
type Decision struct {
	Name     string // of the door
	Tenant   string
	Priority limit.Priority
	Allowed  bool
	Delayed  bool // it has waited; in shadow mode: it would have
	Mode     limit.Mode
	Reason   string // of a refusal, else empty
	// Limit is how many may be inside, Inside how many are, and Queued how many wait, this request included if it does.
	Limit, Inside, Queued int
	QueuedOfTenant        int
	Waited                time.Duration // before it was let in, or given up
	Wait                  time.Duration // estimated, of a request that came now
	Service               time.Duration // in which half of the requests give their place back; 0: not known
	TimeLeft              time.Duration // of the request, when it came; 0: it has no deadline
}

// Refused tells whether the decision took effect as a refusal.
func (d *Decision) Refused() bool { return !d.Allowed && d.Mode == limit.Enforce }

// String explains the decision in one line.
func (d *Decision) String() string {
	word := "allowed"
	if !d.Allowed {
		word = "refused (" + d.Reason + ")"
	}
	if d.Mode == limit.Shadow {
		word += " in shadow"
	}
	s := fmt.Sprintf("admission %s: %s: %d of %d inside, %d wait, %d of this tenant", d.Name, word, d.Inside, d.Limit, d.Queued, d.QueuedOfTenant)
	if d.Waited > 0 {
		s += fmt.Sprintf(", waited %v", d.Waited.Round(time.Microsecond))
	}
	if d.TimeLeft > 0 && !d.Allowed {
		s += fmt.Sprintf(", had %v left", d.TimeLeft.Round(time.Microsecond))
	}
	return s + fmt.Sprintf(", estimated wait %v, usual service %v", d.Wait.Round(time.Microsecond), d.Service.Round(time.Microsecond))
}

// Error is a refusal. It is also a gRPC status, UNAVAILABLE, that says when to come again. errors.Is(err, limit.ErrRefused)
// is true of it.
type Error struct{ Decision Decision }

func (e *Error) Error() string { return e.Decision.String() }

// Is makes errors.Is(err, limit.ErrRefused) true.
func (e *Error) Is(target error) bool { return target == limit.ErrRefused }

// NotSent tells other packages of the kit that the request went nowhere: a breaker does not count it, a retry does not
// repeat it.
func (e *Error) NotSent() bool { return true }

// RetryAfter is the wait that is estimated, at least a second.
func (e *Error) RetryAfter() time.Duration { return max(e.Decision.Wait, time.Second) }

// HTTPStatus is 503.
func (e *Error) HTTPStatus() int { return 503 }

// GRPCStatus is for status.FromError. It carries a RetryInfo.
func (e *Error) GRPCStatus() *status.Status { return e.refusal().GRPC() }

// refusal is what clients are told, which says nothing of others.
func (e *Error) refusal() *answer.Refusal {
	text := "Too many requests of yours wait already."
	switch e.Decision.Reason {
	case ReasonTimeout:
		text = "No place became free in time."
	case ReasonLate:
		text = "The request could not be answered within the time it has."
	}
	return &answer.Refusal{Status: e.HTTPStatus(), Code: codes.Unavailable, Text: text, Reason: e.Decision.Reason, After: e.RetryAfter()}
}
