// Package shed gives requests up while this process has more to do than it can: the less important first, few at first, and more the
// longer goroutines wait for a processor or the less memory is left. It is the shed of the Yumen gateway, for services: middleware for
// net/http, interceptors for gRPC, or asked directly.
//
//	s, err := shed.New(shed.Config{})
//	...
//	http.ListenAndServe(":8080", s.Middleware(nil)(mux))
//
// # What it promises
//
// There is one pressure, from 0 to 1, of both: how long nine of ten goroutines that could run waited for a processor at most
// (Config.WaitFrom to WaitTo), and which share of its memory the process uses (Config.MemoryFrom to MemoryTo), by the limit of its
// control group (cgroup v2) or GOMEMLIMIT, whichever is nearer. It is measured ten times a second, rises at once and falls slowly, so that not
// everything comes back at the same moment.
//
// Low requests are given up by and by in the first quarter of that range, normal ones in the second, high ones in the third and
// critical ones in the last. Put it first, before anything that costs, and leave health checks out.
//
// # When things fail
//
// Nothing outside is needed. Where neither a control group nor GOMEMLIMIT has a limit, memory makes no pressure: nobody has said
// what is too much.
//
// # Concurrency
//
// All methods are safe for concurrent use, and none waits: a request reads one published number. One request in a tenth of a
// second measures, which takes some tens of microseconds. There is no goroutine, and nothing to close.
package shed
