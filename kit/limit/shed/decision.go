package shed

import (
	"fmt"
	"time"

	"github.com/yumen-io/yumen/kit/internal/answer"
	"github.com/yumen-io/yumen/kit/limit"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ReasonOverloaded is the word of refusals, the gateway's too.
const ReasonOverloaded = "overloaded"

// Decision is how a request was judged, and by which numbers.
type Decision struct {
	Priority   limit.Priority
	Allowed    bool
	Mode       limit.Mode
	Pressure   float64 // 0 to 1
	Share      float64 // of the requests of this priority that is given up at that pressure
	Wait       time.Duration
	Memory     float64
	RetryAfter time.Duration // of a refusal: the longer, the more pressure there is
}

// Refused tells whether the decision took effect as a refusal.
func (d *Decision) Refused() bool { return !d.Allowed && d.Mode == limit.Enforce }

// String explains the decision in one line.
func (d *Decision) String() string {
	word := "allowed"
	if !d.Allowed {
		word = "refused (" + ReasonOverloaded + ")"
	}
	if d.Mode == limit.Shadow {
		word += " in shadow"
	}
	return fmt.Sprintf("shed: %s: pressure %.0f%%, %.0f%% of %s requests are given up; wait for a processor %v, memory %.0f%%",
		word, d.Pressure*100, d.Share*100, d.Priority, d.Wait.Round(time.Microsecond), d.Memory*100)
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

// HTTPStatus is 503.
func (e *Error) HTTPStatus() int { return 503 }

// GRPCStatus is for status.FromError. It carries a RetryInfo.
func (e *Error) GRPCStatus() *status.Status { return e.refusal().GRPC() }

func (e *Error) refusal() *answer.Refusal {
	return &answer.Refusal{Status: e.HTTPStatus(), Code: codes.Unavailable, Text: "The service has more to do than it can.",
		Reason: ReasonOverloaded, After: e.Decision.RetryAfter}
}
