package limit

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/yumen-io/yumen/kit/internal/answer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Mode is whether refusals take effect.
type Mode uint8

// Modes.
const (
	Enforce Mode = iota
	Shadow       // judge, count and tell, and let all go on
)

// String returns the word of logs and metrics.
func (m Mode) String() string {
	if m == Shadow {
		return "shadow"
	}
	return "enforce"
}

// By is who has judged a request.
type By uint8

// Who can have.
const (
	Process     By = iota // this process, by its own counts
	Stored                // by what the store has granted, or said
	LocalJudge            // this process by its share, because the store cannot be reached
	Unreachable           // Config.OnUnreachable, because the store cannot be reached
	Crowded               // as if the store could not be reached: too many keys are in hand, or too many requests wait for it
)

var byWords = [...]string{"process", "store", "local_share", "unreachable", "crowded"}

// String returns the word of logs and metrics.
func (b By) String() string { return byWords[b] }

// Reasons of refusals, the same words as the gateway's.
const (
	ReasonRate        = "rate_limited"
	ReasonAtOnce      = "concurrency_limited"
	ReasonKeysFull    = "limit_keys_full"         // the key had no place, and what such keys share is used up
	ReasonUnreachable = "limit_store_unreachable" // nobody could judge
)

// Decision is how a request was judged, and by which numbers. Counts are in units of cost.
type Decision struct {
	Name    string // of the limit
	Key     string
	Cost    int64
	Allowed bool
	Mode    Mode
	Reason  string // of a refusal, else empty
	By      By
	// Quota is what may pass, or be, at once after a pause; Used what of it is used, this request included if it is
	// allowed; Remaining what is left.
	Quota, Used, Remaining int64
	Window                 time.Duration // in which the quota is there again; 0 for Concurrency
	Delay                  time.Duration // which an allowed request has to wait first (LeakyBucket)
	// RetryAfter is when a refused request would be allowed if nothing else came; 0 if that cannot be said: it costs more than
	// the limit ever allows, or waits for others to end.
	RetryAfter time.Duration
	Reset      time.Duration // when all of the quota is there again if nothing else comes; 0 for Concurrency
}

// Refused tells whether the decision took effect as a refusal.
func (d *Decision) Refused() bool { return !d.Allowed && d.Mode == Enforce }

// String explains the decision in one line.
func (d *Decision) String() string {
	word := "allowed"
	if !d.Allowed {
		word = "refused (" + d.Reason + ")"
	}
	if d.Mode == Shadow {
		word += " in shadow"
	}
	s := fmt.Sprintf("limit %s: %s: %d of %d used", d.Name, word, d.Used, d.Quota)
	if d.Window > 0 {
		s += fmt.Sprintf(" in %v, all there again in %v", d.Window, d.Reset.Round(time.Millisecond))
	}
	if d.Delay > 0 {
		s += fmt.Sprintf(", waits %v", d.Delay.Round(time.Microsecond))
	}
	if d.RetryAfter > 0 {
		s += fmt.Sprintf(", retry after %v", d.RetryAfter.Round(time.Millisecond))
	}
	return s + ", judged by " + d.By.String()
}

// ErrRefused is what each *Error is, for errors.Is.
var ErrRefused = errors.New("refused by a limit")

// Error is a refusal. It is also a gRPC status (RESOURCE_EXHAUSTED, or UNAVAILABLE if nobody could judge) that says when
// to come again.
type Error struct{ Decision Decision }

func (e *Error) Error() string { return e.Decision.String() }

// Is makes errors.Is(err, ErrRefused) true.
func (e *Error) Is(target error) bool { return target == ErrRefused }

// NotSent tells other packages of the kit that the request went nowhere: a breaker does not count it, a retry does not
// repeat it.
func (e *Error) NotSent() bool { return true }

// HTTPStatus is 429, or 503 if nobody could judge.
func (e *Error) HTTPStatus() int {
	if e.Decision.Reason == ReasonUnreachable {
		return 503
	}
	return 429
}

// GRPCStatus is for status.FromError. It carries a RetryInfo if it is known when to come again.
func (e *Error) GRPCStatus() *status.Status { return e.refusal().GRPC() }

// refusal is what clients are told.
func (e *Error) refusal() *answer.Refusal {
	r := &answer.Refusal{Status: e.HTTPStatus(), Code: codes.ResourceExhausted, Text: e.text(), Reason: e.Decision.Reason, After: e.Decision.RetryAfter}
	if e.Decision.Reason == ReasonUnreachable {
		r.Code = codes.Unavailable
	}
	return r
}

// text is for the client, who is told neither keys nor names of others.
func (e *Error) text() string {
	d := &e.Decision
	switch d.Reason {
	case ReasonUnreachable:
		return "How often requests may come cannot be found out now."
	case ReasonAtOnce:
		return "More than " + strconv.FormatInt(d.Quota, 10) + " requests at a time are not served."
	}
	return "Requests come too often: " + strconv.FormatInt(d.Quota, 10) + " in " + d.Window.String() + " are served."
}
