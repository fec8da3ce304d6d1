// Package demo is what `yumen demo` puts before and behind a gateway: a document to read, three small upstreams of which
// one is unwell, and lines to try.
//
// It owns the upstreams' listeners and goroutines. It deliberately does not run the gateway: that is done by the same
// code as for everybody else's document, or the demo would prove nothing.
package demo
