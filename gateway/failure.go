package gateway

import (
	"errors"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// Side is whose fault a failure was.
type Side uint8

// Sides.
const (
	Self Side = iota // ours, or the configuration's
	Client
	Upstream
)

// Failure is one way for an exchange to go wrong. There is a fixed list of them: what the client is told, what is counted,
// what the endpoint's record says and whether the request may be sent again all derive from which one it was.
type Failure struct {
	Side    Side
	Status  int            // what the client is told
	Reason  string         // one word for header, log and metric
	Text    string         // a sentence for people
	Outcome health.Outcome // for the endpoint's record
	Kind    retry.Failure  // for the decision to send again
}

// ReasonStatus is the word of failures that are answers: see Failure.Answered.
const ReasonStatus = "upstream_status"

// Answered tells of an answer of the upstream whose status a filter takes for a failure (Hooks.Unwanted). It has come, and is passed
// on unless somebody has a better one.
func (f *Failure) Answered() bool { return f.Reason == ReasonStatus }

// Error returns the sentence.
func (f *Failure) Error() string { return f.Text }

// The failures of attempts.
var (
	connectFailed = &Failure{Upstream, 502, "connect_failed", "the upstream refused the connection",
		health.ConnectFailure, retry.ConnectFailure}
	connectTimeout = &Failure{Upstream, 504, "connect_timeout", "connecting to the upstream took too long",
		health.ConnectFailure, retry.ConnectFailure}
	upstreamReset = &Failure{Upstream, 502, "upstream_reset", "the upstream reset the connection before its answer was complete",
		health.Reset, retry.Reset}
	handshakeFailed = &Failure{Upstream, 502, "tls_failed", "the TLS handshake with the upstream failed",
		health.ConnectFailure, retry.ConnectFailure}
	leftAlone = &Failure{Upstream, 503, "upstream_refused", "the upstream says that it did not act on the request",
		health.Aborted, retry.Refused}
	streamReset = &Failure{Upstream, 502, "stream_reset", "the upstream gave up the request before its answer was complete",
		health.Reset, retry.Reset}
	lostTogether = &Failure{Upstream, 502, "connection_lost", "the connection to the upstream broke under several requests",
		health.Aborted, retry.Reset}
	upstreamClosed = &Failure{Upstream, 502, "upstream_closed", "the upstream closed the connection before its answer was complete",
		health.Reset, retry.Reset}
	badResponse = &Failure{Upstream, 502, "bad_response", "the upstream's answer was not valid HTTP",
		health.BadResponse, retry.BadResponse}
	firstByteTimeout = &Failure{Upstream, 504, "first_byte_timeout", "the upstream did not begin to answer in time",
		health.Timeout, retry.Timeout}
	betweenBytesTimeout = &Failure{Upstream, 504, "between_bytes_timeout", "the upstream stopped in the middle of its answer",
		health.Timeout, retry.Timeout}
	perTryTimeout = &Failure{Upstream, 504, "per_try_timeout", "an attempt took longer than the route allows it",
		health.Timeout, retry.Timeout}
	neighbourFailed = &Failure{Self, 502, "pipeline_broken", "the connection was shared with a request that was given up",
		health.Aborted, retry.Reset}
	queueFull = &Failure{Self, 503, "queue_full", "too many requests wait for a connection to the upstream",
		health.Aborted, retry.ConnectFailure}
	queueTimeout = &Failure{Self, 503, "queue_timeout", "no connection to the upstream became free in time",
		health.Aborted, retry.ConnectFailure}
	noDescriptors = &Failure{Self, 503, "no_descriptors", "the gateway could not open another connection",
		health.Aborted, retry.ConnectFailure}
	noTunnel = &Failure{Upstream, 502, "no_tunnel", "the upstream takes no WebSocket over the protocol it is spoken to by",
		health.Aborted, retry.BadResponse}
	hedgeLost = &Failure{Self, 502, "hedge_lost", "another try of the request was quicker",
		health.Aborted, retry.Reset}
	retriableStatus = &Failure{Upstream, 502, "retriable_status", "the upstream answered with a status that is tried again",
		health.ServerError, retry.BadStatus}
)

// The failures of exchanges outside of attempts.
var (
	noRoute   = &Failure{Side: Self, Status: 404, Reason: "no_route", Text: "no route matches this request"}
	badMethod = &Failure{Side: Client, Status: 405, Reason: "method_not_allowed",
		Text: "the path exists, but not for this method"}
	noEndpoint = &Failure{Side: Upstream, Status: 503, Reason: "no_endpoint", Text: "the cluster has no endpoints"}
	noHealthy  = &Failure{Side: Upstream, Status: 503, Reason: "no_healthy_endpoint",
		Text: "no endpoint of the cluster is healthy"}
	allDrained     = &Failure{Side: Self, Status: 503, Reason: "all_drained", Text: "every endpoint of the cluster is drained"}
	requestTimeout = &Failure{Side: Upstream, Status: 504, Reason: "request_timeout",
		Text: "the request as a whole took longer than its route allows", Outcome: health.Aborted}
	deadlineExceeded = &Failure{Side: Client, Status: 504, Reason: "deadline_exceeded",
		Text: "the time that the client gave the call is over", Outcome: health.Aborted}
	tooMuchWork = &Failure{Side: Self, Status: 503, Reason: "work_queue_full", Outcome: health.Aborted,
		Text: "too many requests wait for work that takes longer than a loop has"}
	badStage = &Failure{Side: Self, Status: 502, Reason: "body_filter_failed", Outcome: health.Aborted,
		Text: "a filter could not go on with the answer's body"}
	bodyTooLarge = &Failure{Side: Client, Status: 413, Reason: "body_too_large",
		Text: "the request's body is larger than the listener allows", Outcome: health.Aborted}
	tunnelIdle = &Failure{Side: Self, Status: 101, Reason: "tunnel_idle",
		Text: "nothing came from either end of the tunnel in time", Outcome: health.Aborted}
	tunnelDrained = &Failure{Side: Self, Status: 101, Reason: "tunnel_drained",
		Text: "the gateway stopped, and told both ends of the WebSocket", Outcome: health.Aborted}
	clientGone = &Failure{Side: Client, Status: 499, Reason: "client_gone",
		Text: "the client closed the connection before it had its answer", Outcome: health.Aborted}
)

// failures is every Failure, for the list of reasons.
var failures = []*Failure{
	connectFailed, connectTimeout, handshakeFailed, upstreamReset, upstreamClosed, leftAlone, streamReset, lostTogether, badResponse, firstByteTimeout, betweenBytesTimeout,
	perTryTimeout, neighbourFailed, queueFull, queueTimeout, noDescriptors, noTunnel, hedgeLost, retriableStatus,
	noRoute, badMethod, noEndpoint, noHealthy, allDrained, requestTimeout, deadlineExceeded, bodyTooLarge, tunnelIdle, tunnelDrained, clientGone,
	tooMuchWork, badStage,
}

// Answers by configuration, and to OPTIONS *, have reasons too, so that they can be told from those of an upstream.
const (
	reasonRespond  = "respond"
	reasonRedirect = "redirect"
	reasonOptions  = "options"
	// A certificate authority asked whether a name leads here.
	reasonChallenge = "acme_challenge"
	// A translator had to say something.
	reasonTranslation = "translation"
)

// attemptFailure names what an error of the engine or the pools means for an attempt.
func attemptFailure(err error, connected bool) *Failure {
	var refusal *message.Refusal
	switch {
	case errors.Is(err, engine.ErrConnectTimeout):
		return connectTimeout
	case errors.Is(err, engine.ErrNeighbour):
		return neighbourFailed
	case errors.Is(err, engine.ErrUpstreamClosed):
		return upstreamClosed
	case errors.Is(err, engine.ErrUnprocessed):
		return leftAlone
	case errors.Is(err, engine.ErrStreamReset):
		return streamReset
	case errors.Is(err, engine.ErrLostTogether):
		return lostTogether
	case errors.Is(err, engine.ErrNoTunnel):
		return noTunnel
	case errors.Is(err, engine.ErrHandshake):
		return handshakeFailed
	case errors.Is(err, upstream.ErrQueueFull):
		return queueFull
	case errors.As(err, &refusal):
		return badResponse
	case engine.IsOurs(err):
		return noDescriptors
	case connected:
		return upstreamReset
	default:
		return connectFailed
	}
}
