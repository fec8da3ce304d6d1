package config

import "sync"

// RequestID is who is told the id of a request, beside the upstream and the access log.
type RequestID struct {
	Answer bool // the client is, in every answer
}

var requestIDObject = sync.OnceValue(func() *object[RequestID] {
	type T = RequestID
	return &object[T]{
		name: "request_id", article: "a",
		about: "Who is told the id of a request. The upstream is always, in X-Request-ID; so is the client, of what the gateway answers by itself.",
		keys: []key[T]{
			def("answer", boolean(), func(v *T) *bool { return &v.Answer }, false,
				`Say it in the answers of upstreams, too, in the place of what they say in X-Request-ID, so that clients can name any request to yumen why. Off, as with nginx, HAProxy and Envoy: an answer goes out as its service gave it, and is 48 bytes shorter over HTTP/1.`),
		},
	}
})
