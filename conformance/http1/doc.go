// Package http1 judges a running gateway by a corpus of hostile and awkward HTTP/1 messages
// (testdata/http1-cases.jsonl), derived from RFC 9110, 9112, 3986 and the known smuggling classes.
//
// Each case is played over a raw connection to the gateway, in front of an upstream that records the exact bytes it is
// sent and reads them leniently enough to notice what was smuggled. Then two honest requests must get their own answers.
// The judge keeps three things apart: what the RFC demands, what this house demands on top (`house` in the data), and
// soft findings, where a path that some upstreams would take for a denied one was forwarded as it came.
//
// It deliberately parses HTTP by itself, on both sides: a parser shared with the gateway would share its mistakes. The
// same runner judges nginx and HAProxy (`-peer`) or any gateway that runs already (`-gateway`), which is how it is
// known that a failure is the gateway's and not the runner's.
package http1
