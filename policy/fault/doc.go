// Package fault is the arithmetic of faults that are injected on purpose: how long a delay is, how many requests may be affected, and
// when an experiment has to stop because those that it leaves alone suffer.
//
// It knows no requests: time and randomness are passed in.
package fault
