// Package health judges the endpoints of a cluster: by active checks, by how live requests end, and by an operator's word.
//
// Three verdicts are kept apart for each endpoint, since each has its own way back.
//
// Active checks: at first the endpoint is unknown, and unknown serves: a gateway that starts must not answer 503 until its
// first round of checks. The first check alone decides an unknown endpoint. From then on FailuresToUnhealthy failed checks in a row
// make it failing and SuccessesToHealthy good ones healthy again.
//
// Passive ejection: ConsecutiveFailures bad endings in a row, no good one between them, eject the endpoint for EjectionBase. Time
// alone brings it back, on probation: the first live request that ends well clears it, one that ends badly ejects it
// again, for twice as long, up to EjectionMax. The doubling is forgiven one step for each spell, as long as the last ejection was,
// that the endpoint serves without a new one. Good checks do not shorten an ejection: a check takes another path than the
// traffic, and its path is the one that did not fail. Endings that arrive during an ejection are those of requests sent
// before it, or of panic; they neither shorten nor lengthen it.
//
// Drained: an operator wants no new requests there.
//
// What a client can bring about must not count (Aborted), and what it might bring about is held against the endpoint
// only gently: a 500 is the program's answer to that request and is neither good nor bad; timeouts and gateway errors count, but any
// good ending in between starts the count anew.
//
// Ejection is a guess, and guesses must not take a cluster down. An endpoint is not ejected if that left more than
// MaxEjectedShare of the endpoints unavailable (failing or ejected; one may always be), or none healthy. And when the last
// healthy one falls to its checks or is drained, the ejection that would end first ends now.
//
// The package keeps no clock and sends no checks (gateway/upstream does); how the pool copes when few are healthy is
// policy/balance's business.
package health
