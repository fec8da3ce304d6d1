// Package canary decides how much of the traffic a new version gets: a little more as long as its error ratio and
// latency are no worse than those of the version before it, nothing any more once they are.
//
//	             step_time and step_requests are over,
//	             and nothing speaks against it
//	Running ---------------------------------------------> Running, one step up ... -> Done
//	  |  \
//	  |   +-- evidence of more errors or longer latency --> RolledBack
//	  +------ somebody else set the weights --------------> Stopped
//
// The evidence is a test martingale ("e-process"): a bet against the sentence "the canary is no worse" that makes
// nothing, on average, as long as the sentence is true, whenever one looks. By Ville's inequality it ever reaches
// 1/alpha with a probability of alpha at most, so that a Judge may look ten times a second and stop the moment it is
// sure, where a test made for one look would be wrong ever more often the more often it is repeated.
//
// What is bet on are the two proportions of each window of about a second: of so many requests of the canary and so
// many of the baseline, how many failed. The factor of a window is the likelihood ratio of an alternative to the point
// of the null hypothesis nearest to it (Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample
// tests that allow for optional stopping", 2021; and on strata, Turner and Grünwald, "Exact anytime-valid confidence
// intervals for contingency tables and beyond", 2022). It is exact for any number of requests on either side, 1 % or
// 99 %, and whatever the error ratio of the window is: an incident that hits both moves nothing. A mixture SPRT on a
// normal approximation of the two ratios (Johari, Koomen, Pekelis and Walsh, "Peeking at A/B tests", 2017) takes the
// ratio to be the same all the time; in the simulation with incidents it finds about half of all versions worse that
// are not, since an incident on a later step is more of the canary's requests than of the baseline's. Alpha spending
// needs the number of requests to be known before.
//
// Latency is made into the same question. A threshold is a quantile of the baseline's past; if the canary is at most
// 10 % slower, then no larger share of its requests is beyond the threshold and 10 % than of the baseline's beyond the
// threshold. The thresholds are the median, p95 and p99: a general slowness shows in the first, and a sick tail in the
// last.
//
// How large the difference is, nobody knows before. So the stake is divided among several alternatives, and among
// thresholds; the capital is the sum, which is what makes it valid for all of them together. Errors and latency have
// half of alpha each.
//
// What it takes for granted is that requests of one window fail independently of each other once it is known how
// likely failure is. Keys are sticky: one client that fails all the time is in one variant and fails there.
// WindowShare keeps a single bad second from deciding; it does not help against a client that makes up the errors of
// all its variant. See the guide.
//
// The package keeps no clock, draws no random numbers, and sets no weights.
package canary
