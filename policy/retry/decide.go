package retry

import "time"

// Facts is what is known of a request when one of its attempts failed.
type Facts struct {
	Attempt    int  // attempts made, 1 for the first
	Idempotent bool // by method (see Idempotent), or because the client vouches for it

	RequestBytes  int64 // bytes of the request, head or body, that the socket accepted in this attempt
	BodyBytes     int64 // bytes of the body taken from the client that a new attempt would have to send again
	Replayable    bool  // and they are still at hand
	ResponseBytes int64 // bytes of a response seen in this attempt
	ClientBytes   int64 // bytes of a response, interim ones aside, sent to the client

	Failure Failure
	Status  int  // with BadStatus
	Reused  bool // the connection had served, or waited, before this request

	DeadlineLeft time.Duration // of the whole request; a large value if it has none
	BudgetRoom   bool          // Budget.HasRoom
	Rnd          uint64        // 64 random bits

	GRPCStatus GRPCStatus // with BadStatus, if the answer is a call's
}

// Verdict is the decision.
type Verdict struct {
	Again bool
	After time.Duration // wait this long first
	Fresh bool          // on a connection of its own: the idle ones of the pool are likely as dead as this one
	Spend bool          // the retry counts in the budget: Budget.Spend
	Why   Reason
}

// Reason is why there is another attempt, or why not. Its words are those of the metric and the log.
type Reason uint8

const (
	AfterConnectFailure Reason = iota // again:
	AfterIdleDeath                    // a kept connection turned out dead
	AfterReset
	AfterTimeout
	AfterBadResponse
	AfterRefused
	AfterStatus
	Hedged          // beside one that is slow to answer
	NoResponseBegun // no: the client has part of a response
	NoAttemptsLeft  // the policy's number is reached
	NoCondition     // the policy does not retry such failures
	NoNotIdempotent // the upstream may have acted on it
	NoBodyGone      // the body was passed on and not kept
	NoDeadline      // no time is left for it
	NoBudget        // the cluster's retries are used up
)

// reasons are the words, by Reason.
var reasons = [...]string{
	"connect_failure", "idle_death", "reset", "timeout", "bad_response", "refused", "status", "hedged",
	"response_begun", "attempts_exhausted", "condition_off", "not_idempotent", "body_gone", "deadline", "budget_exhausted",
}

func (r Reason) String() string { return reasons[r] }

// Decide says whether the request is attempted again. What forbids comes first, safety before economy, so that the reason
// given is the one that no setting could change.
func (p *Policy) Decide(f Facts) Verdict {
	// The upstream cannot have acted on a request of which it got nothing, or which it says it left alone.
	untouched := f.RequestBytes == 0 || f.Failure == Refused

	// An idle connection that dies when it is used was closed by the other side while the request was on its way: it says nothing
	// about the endpoint. (A reset after part of a response does.)
	idleDeath := f.Failure == Reset && f.Reused && f.ResponseBytes == 0

	switch {
	case f.ClientBytes > 0:
		return Verdict{Why: NoResponseBegun}
	case !untouched && !f.Idempotent && !(f.Failure == BadStatus && p.RetriesGRPCStatus(f.GRPCStatus)):
		// A status of gRPC is on the list because somebody said that such calls may be made again: all of them are POSTs.
		return Verdict{Why: NoNotIdempotent}
	case f.BodyBytes > 0 && !f.Replayable:
		return Verdict{Why: NoBodyGone}
	case !p.covers(f):
		return Verdict{Why: NoCondition}
	case f.Attempt >= p.attempts:
		return Verdict{Why: NoAttemptsLeft}
	}

	v := Verdict{Again: true, Why: cause(f.Failure, idleDeath), Fresh: idleDeath}
	// What did not reach an upstream costs none any work: fail-over from a dead endpoint must not fail for want of budget
	// just when half of the cluster is dead. What it may cost us, the number of attempts bounds. A refusal is work.
	v.Spend = f.RequestBytes > 0
	if !untouched && !idleDeath {
		v.After = p.backoff(f.Attempt, f.Rnd)
	}
	switch {
	case f.DeadlineLeft <= v.After:
		return Verdict{Why: NoDeadline}
	case v.Spend && !f.BudgetRoom:
		return Verdict{Why: NoBudget}
	}
	return v
}

// covers says whether the policy retries this failure at all.
func (p *Policy) covers(f Facts) bool {
	switch f.Failure {
	case ConnectFailure:
		return p.on&OnConnectFailure != 0
	case Reset:
		return p.on&OnReset != 0
	case Timeout:
		return p.on&OnTimeout != 0
	case BadResponse:
		return p.on&OnBadResponse != 0
	case Refused:
		return p.on&OnRefused != 0
	default:
		return p.RetriesStatus(f.Status) || p.RetriesGRPCStatus(f.GRPCStatus)
	}
}

func cause(f Failure, idleDeath bool) Reason {
	switch f {
	case ConnectFailure:
		return AfterConnectFailure
	case Reset:
		if idleDeath {
			return AfterIdleDeath
		}
		return AfterReset
	case Timeout:
		return AfterTimeout
	case BadResponse:
		return AfterBadResponse
	case Refused:
		return AfterRefused
	default:
		return AfterStatus
	}
}
