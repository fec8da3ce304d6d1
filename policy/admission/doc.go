// Package admission decides which requests may be with an upstream at the same time, in which order others wait, and which
// are better told at once that they come too late.
//
// A Gate is what one loop knows of one door: who is inside, who waits, and whose turn it is. A Limit finds out how many may be
// inside on all loops together, from what the gates saw, and Share divides that among them. The caller owns the Ticket of each
// request and says when it arrives, gives up and leaves; and a few times a second he shows the Limit what the gates saw.
//
// # The limit
//
// Latency tells how full an upstream is: below its capacity it does not depend on how many requests are there, above it
// grows with each. A window of latencies is compared with a base that was measured while little was going on; the limit
// is multiplied by their ratio and grows by a little headroom, a quarter of its root. That is the gradient of Netflix's
// concurrency-limits and of Envoy's adaptive concurrency filter. What differs was found by simulation (fair_test.go):
//
//   - The mean is one of logarithms. A percentile jumps when a mix of fast and slow requests shifts across it, an arithmetic
//     mean follows the slowest few, and a minimum is never seen again when answers come from a cache now and then.
//   - A window holds only requests that were let in after the last change of the limit, so that it is never judged by what
//     its predecessor did.
//   - The base is measured at half the limit for some hundreds of requests, not at three: nobody is refused for it, and a
//     saturated upstream loses about one per cent. A limit that was far too high is found by several halvings, which follow
//     each other until the base stands still.
//   - A limit that has fallen by half measures the base anew: if the service itself has become slower, few requests in flight
//     do not make it faster, and the limit must not sink for it.
//
// The simple design gives each loop a limit of its own, found from its own samples. It has lost: all loops see one latency, but
// compare it with bases that differ by the noise of their measurement, and whoever has the lower one gives way to the other for
// ever. With four loops on one upstream the largest limit became 43 times the smallest (TestLoopsOnTheirOwnWouldDriftApart), and the
// p99 of a modest tenant up to five times what it was. So one Limit looks at the sums of all loops ten times a second. What is shared is
// a few published numbers; no request waits for anything of another loop, and a loop is never left without a place (Share).
// What it costs: a loop whose demand rises has to make do for a tenth of a second with a quarter of an equal part.
//
// # The order
//
// Requests of one priority are let in by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) over tenants, with one
// difference: what a request costs is the time that it holds its place, known when it leaves. It is charged with the mean at
// first, and the difference settled then, as in the API priority and fairness of Kubernetes. A tenant that sends fifty times
// as much waits for itself. In the simulation, at fifty times its share it raises the p99 of another by 10 to 23 % (services that
// always take exactly as long excepted: their requests end in step, so that a place becomes free only once in that time).
// One place in sixteen is for tenants that hold next to none. A tenant without requests is forgotten when its debt is paid.
//
// A tenant may fill its share of the free room of the queue and no more (Choudhury, Hahne, Dynamic Queue Length Thresholds,
// 1998): so the room that a newcomer finds does not depend on how much the greedy one sends.
//
// While a tenant's oldest request has waited for more than half of what anybody may wait, its newest goes first (the
// adaptive LIFO of Maurer, Fail at Scale, 2015): in a lasting overload first come, first served would serve each just before its
// client gives up, or after.
//
// Higher priorities go first. A lower one with somebody waiting is passed over PassesMax times and not once more.
//
// The package keeps no clock and draws no random numbers. It knows neither what a tenant is nor how one waits.
package admission
