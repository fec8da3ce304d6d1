// Package h2spec judges a running gateway by h2spec, the public suite for RFC 9113 and RFC 7541: its groups generic,
// http2 and hpack with the strict cases, over h2c by prior knowledge and over TLS, in front of an HTTP/1.1 upstream.
//
// The same runner judges Go's own server, and nginx, HAProxy and Caddy where they are installed: for
// comparison, and so that it is known of a failure whether it is the gateway's or the suite's. They never fail the test.
//
// A case that we fail and mean to fail stands in exceptions.txt with its reason. A case there that passes is an error.
//
// h2spec alone misleads: it says nothing of what is forwarded. That is for the corpora of the sister packages.
package h2spec
