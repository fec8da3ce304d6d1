// Package loadaware says how much of a caller's traffic each endpoint should get, from what the caller knows of them: the
// load they report, the latency they show, probes that fail. Facts and time come in, weights go out, each with the factors
// it is made of, so that the question "why did this one get nothing" has an answer in numbers.
//
// The package has four parts. Settings.Weigh turns the facts of a pool into weights, a few times a second. A Table draws
// two endpoints by weight and prefers one of them, for every call. Average is what a caller learns of latency from one
// call to the next. None of them keeps a clock, draws random numbers or locks: all of that belongs to the caller, who may be
// a loop of the gateway with plain memory, or the picker of a gRPC channel with atomic words.
//
// # The weight
//
//	weight = base x (1 - max(cpu, mem)) x exp(-latency / 100 ms) x (1/2)^(probes failed in a row) x (1 - failures)^2
//
// By itself that formula does harm. Nine endpoints at 500 ms and one at 50 ms would send nine tenths of everybody's traffic
// to the one. A process close to its memory limit would get nothing though it is well. All callers hear the same news, and
// all run to the same endpoint. So the product never goes below Floor of the base, nor below the best one's divided by
// RatioMax; it is smoothed; and it moves by no more than FallPerSecond and RisePerSecond of the base. An endpoint that is new,
// or has been away, warms up over SlowStart. When less than PanicThreshold of the pool is healthy, base weights count alone,
// for those that can be reached at all.
//
// # The choice
//
// Weights follow reports and are slow on purpose. What a caller sees by itself works at once, in the choice between the two
// that were drawn: the one with fewer calls in flight for its weight, each counted as many times as the endpoint is slower
// than is typical of the pool, if it is clearly slower. The ratio alone, with its cap of ten, leaves one endpoint of ten
// more than one call in a hundred, which is what a p99 sees. A slow endpoint that has lost its choices gets trials, two
// calls in a thousand for all the slow ones together, which is how it shows that it has recovered.
package loadaware
