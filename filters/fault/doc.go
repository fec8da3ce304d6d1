// Package fault is the guard that injects faults on purpose: it delays, refuses, resets or cuts off the requests of a cohort, so that
// people learn what their services and clients make of it.
//
// What it may do is bounded three times: by a budget of requests, by a share of all, and by a time at which it ends. It ends before
// that when the requests it leaves alone suffer. What was spent, and that it was stopped, is remembered over configurations, under the
// experiment's name: a reload begins nothing anew.
//
// Nothing is done in secret. Whatever is injected is judged, so that "yumen why" tells of it, and the answer says it in X-Yumen-Fault.
package fault
