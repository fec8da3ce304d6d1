// Package mirror is the filter that sends copies of requests to another cluster, so that a new version sees live traffic before it
// answers any.
//
// The original is never slower for it, and never fails with it. Its bytes go on at once; the copy is made of what passed, when the
// request is complete, and goes as an errand of the gateway's through the pools of the other cluster. What a copy may take is
// bounded: so many under way on a loop, so much of a body, so long. Beyond that there is no copy, and a counter that says why.
//
//	filter.go     settings to hooks
//	flight.go     one copy, from the request to the end of what is answered
//	compare.go    the three answers that are compared: the original's, the copy's, and another of the old version's
//	answer.go     one of them
//	report.go     the goroutine that compares, and what it has found
//	counts.go     what is remembered over configurations
package mirror
