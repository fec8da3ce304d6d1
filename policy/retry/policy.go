package retry

import (
	"math/bits"
	"time"
)

// Failure is how an attempt failed, as the upstream side saw it.
type Failure uint8

const (
	// ConnectFailure: no connection came about: refused, unreachable, timed out, TLS handshake failed.
	ConnectFailure Failure = iota
	// Reset: the connection ended, by reset or by end of stream, before the response was complete.
	Reset
	// Timeout: an answer, or the rest of one, did not come in time.
	Timeout
	// BadResponse: what came is not an acceptable response.
	BadResponse
	// Refused: the upstream said that it did not process the request: REFUSED_STREAM or a GOAWAY with a lower stream
	// (RFC 9113 section 8.7), H3_REQUEST_REJECTED (RFC 9114 section 4.1.1).
	Refused
	// BadStatus: a complete response head whose status is on the policy's list.
	BadStatus
)

// Conditions is the set of failures that a policy retries.
type Conditions uint16

const (
	OnConnectFailure Conditions = 1 << iota
	OnReset
	OnTimeout
	OnBadResponse
	OnRefused
	OnGatewayStatus // 502, 503, 504

	// OnDefault is every failure to answer. A status is an answer, and a 503 more often than not a request for less
	// traffic: retrying those must be asked for.
	OnDefault = OnConnectFailure | OnReset | OnTimeout | OnBadResponse | OnRefused
)

// Config is a route's wish. The zero value is one more attempt for whatever is safe.
type Config struct {
	Attempts    int           // in all, with the first: 1 to 10; 0 means 2, 1 is no retry
	PerTry      time.Duration // how long one attempt may take; 0: as long as the request
	On          Conditions    // 0 means OnDefault
	Statuses    []int         // further statuses to retry on, 400 to 599
	GRPC        []GRPCStatus  // statuses of calls to retry on, where an answer is nothing but its status
	BackoffBase time.Duration // the mean of the first wait is half of it; 0 means 25 ms, below 0 no waiting
	BackoffMax  time.Duration // the longest wait; 0 means ten times BackoffBase
}

const (
	attemptsDefault = 2
	attemptsMax     = 10 // beyond, a request is a flood of its own
	backoffDefault  = 25 * time.Millisecond
	backoffGrowth   = 10
)

// Policy is a compiled Config: frozen, shared by all loops.
type Policy struct {
	attempts    int
	perTry      time.Duration
	on          Conditions
	statuses    [10]uint64 // a bit for each status below 640
	grpc        uint32     // a bit for each of gRPC's
	backoffBase time.Duration
	backoffMax  time.Duration
}

// New compiles cfg; what is out of range is moved to the nearest bound, what is no status is ignored.
func New(cfg Config) *Policy {
	p := &Policy{attempts: cfg.Attempts, perTry: max(cfg.PerTry, 0), on: cfg.On, backoffBase: cfg.BackoffBase, backoffMax: cfg.BackoffMax}
	if p.attempts == 0 {
		p.attempts = attemptsDefault
	}
	for _, g := range cfg.GRPC {
		if g > 0 && g < 32 {
			p.grpc |= 1 << g
		}
	}
	p.attempts = min(max(p.attempts, 1), attemptsMax)
	if p.on == 0 {
		p.on = OnDefault
	}
	if p.backoffBase == 0 {
		p.backoffBase = backoffDefault
	}
	p.backoffBase = max(p.backoffBase, 0)
	if p.backoffMax <= 0 {
		p.backoffMax = backoffGrowth * p.backoffBase
	}
	if p.on&OnGatewayStatus != 0 {
		p.retryStatus(502)
		p.retryStatus(503)
		p.retryStatus(504)
	}
	for _, status := range cfg.Statuses {
		p.retryStatus(status)
	}
	return p
}

func (p *Policy) retryStatus(status int) {
	if status >= 400 && status <= 599 {
		p.statuses[status/64] |= 1 << (status % 64)
	}
}

// Retries says whether the policy ever retries: without, the gateway need keep no request for a second attempt.
func (p *Policy) Retries() bool { return p.attempts > 1 }

// RetriesStatus says whether a response of this status is a BadStatus. It is asked for each response.
func (p *Policy) RetriesStatus(status int) bool {
	return uint(status) < 640 && p.statuses[status/64]&(1<<(status%64)) != 0
}

// TryTimeout is how long the next attempt may take when the request has left for all of it.
func (p *Policy) TryTimeout(left time.Duration) time.Duration {
	if p.perTry > 0 {
		return min(p.perTry, left)
	}
	return left
}

// backoff is the wait after the given number of attempts: full jitter (uniform from zero) over a bound that doubles, so that
// the requests one dying upstream left behind do not return in step.
func (p *Policy) backoff(attempts int, rnd uint64) time.Duration {
	bound := p.backoffBase
	for range attempts - 1 {
		if bound >= p.backoffMax/2 {
			bound = p.backoffMax
			break
		}
		bound *= 2
	}
	hi, _ := bits.Mul64(rnd, uint64(min(bound, p.backoffMax)))
	return time.Duration(hi)
}

// Idempotent says whether a method may be repeated by RFC 9110 section 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT and DELETE.
// Methods are case-sensitive. All others count as not idempotent; WebDAV's reading methods lose a retry by that, nothing else.
func Idempotent[S ~string | ~[]byte](method S) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// GRPCStatus is a status of gRPC (https://grpc.io/docs/guides/status-codes): 0, which is OK, to 16.
type GRPCStatus int

// RetriesGRPC tells whether any status of gRPC is tried again.
func (p *Policy) RetriesGRPC() bool { return p.grpc != 0 }

// RetriesGRPCStatus tells whether a status of gRPC is tried again. OK never is.
func (p *Policy) RetriesGRPCStatus(s GRPCStatus) bool { return s > 0 && s < 32 && p.grpc>>s&1 != 0 }
