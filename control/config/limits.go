package config

import "sync"

// Limits bound the whole process. Zero means as said at each.
type Limits struct {
	Connections int   // from clients, all listeners together; 0: half of the descriptors the process may open
	BufferBytes int64 // held by connections under way
	Loops       int   // 0: one for each core

	Handshakes        int // of TLS, open at a time
	HandshakesWaiting int // for one of those to end
}

var limitsObject = sync.OnceValue(func() *object[Limits] {
	type T = Limits
	return &object[T]{
		name: "limits", article: "a",
		about: "Bounds of the whole process.",
		keys: []key[T]{
			def("connections", orOff(integer(1, 10_000_000)), func(v *T) *int { return &v.Connections }, 0,
				`Connections from clients at a time, all listeners together. Off: half of the file descriptors the process may open, since each request may need one upstream.`),
			def("buffer_bytes", size(1<<20, 1<<44), func(v *T) *int64 { return &v.BufferBytes }, 1<<30,
				`Memory for what is being sent and received, an equal part for each loop. While a loop is past its part, requests that have begun go on; the next request of a connection waits, unread, until memory is free again, and is counted in yumen_loop_connections_starved_total. Idle connections take none. 1GiB holds four thousand slow readers at their fullest.`),
			def("loops", orOff(integer(1, 1024)), func(v *T) *int { return &v.Loops }, 0,
				`Event loops, each on a thread of its own. Off: one for each core.`),
			def("handshakes", integer(1, 1_000_000), func(v *T) *int { return &v.Handshakes }, 2048,
				`TLS handshakes with clients open at a time, all listeners together. Each holds a goroutine and buffers of its own until it is done, and most of that time waits for its client.`),
			def("handshakes_waiting", integer(0, 1_000_000), func(v *T) *int { return &v.HandshakesWaiting }, 4096,
				`Connections that may wait for one of these to end; one more is closed. After a restart all clients come back at once: most are served a little later so, and none waits past handshake_timeout.`),
		},
	}
})
