// Package breaker decides whether requests go to something that may be broken: a route's upstream, a cluster, a service.
//
// A Breaker is closed (all requests pass), open (they are refused), or half-open. Half-open is a stair: on its lowest step
// Probes requests are let through and no others; on the steps above a share of all requests passes, 1, 5 and 25 % by
// default, and on each step Probes more whatever the share, so that little traffic is enough to learn by. A step that ends
// well leads to the next, the last to closed; one that ends badly back to open, for twice as long.
//
//	         conditions, or score                    time is over
//	closed ------------------------> open -------------------------> half-open: probes
//	   ^                              ^ ^                                  |  each step
//	   |                              | +------- too many bad ones --------+  that ends well
//	   +------------------------------|------------------------------------+
//	                                  | twice as long, up to OpenMax
//
// Two rules can open it. The classic one goes by a window of buckets: share of failures, share of slow calls, both from a
// minimum volume on, and failures in a row. The adaptive one (Adaptive.On) is beside it and never instead of it: it learns how
// the seconds of this service look when all is well, and scores each new one against them with an isolation forest.
//
// What a naive isolation forest does was measured before this was written: trained on the plain window, a total outage is
// either outside of what the forest has seen, and then indistinct, or within, and then normal after two seconds; and a
// second that is unusually fast scores like an outage. Hence: it is trained on a reservoir of healthy seconds, which a second
// enters only when nothing went wrong in the ten that followed; its trees split beyond the data, on the bad side, so that
// what was never seen is told apart; the feature that contributes most must be on its bad side; bad seconds add up to a verdict,
// and one alone does not; a second of few requests is joined with the next; what the score alone opens refuses no more than
// RefusedMax of the requests; and after closing, the score is silent for CoolDown.
//
// The package keeps no clock, draws no random numbers but from the seed it was given, and counts no requests: the caller
// counts how they ended (on each loop for itself, say) and hands the sums to Tick several times a second. What to admit
// between two ticks follows from View, which is a plain value. Whose fault an ending was is the caller's to say: what a client brought
// about must not be in the Counts.
package breaker
