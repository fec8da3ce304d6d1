package config

import "sync"

// Limits bound the whole process. Zero means as said at each.
type Limits struct {
	Connections int   // from clients, all listeners together; 0: half of the descriptors the process may open
	BufferBytes int64 // held by connections under way
	Loops       int   // 0: one for each core
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
		},
	}
})
