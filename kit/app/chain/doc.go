// Package chain is the policy of a service, once, for HTTP and for gRPC: who may call, how long, how often, what is a call
// that is worth the handler's while, and what becomes of a handler that fails. It answers in the same words on both, and with
// those of the Yumen gateway before it.
//
//	c, err := chain.New(chain.Config{
//		Auth:    chain.Auth{Authenticators: []chain.Authenticator{keys}},
//		Limits:  []chain.Limit{{Guard: perCaller}},
//		Methods: map[string]chain.Method{"POST /login": {Public: true}, "/shop.Orders/*": {Scopes: []string{"orders"}}},
//		Route:   chain.RouteOf(mux),
//	})
//	...
//	http.ListenAndServe(":8080", c.Handler(mux))
//	grpc.NewServer(grpc.UnaryInterceptor(c.Unary()), grpc.StreamInterceptor(c.Stream()))
//
// # The order
//
// It is fixed, since each part relies on those outside of it:
//
//	tracing, metrics   sees all, also what is refused
//	access line        with the trace's id, and who refused
//	recovery           a panic is an answer by now, and both above see it; the breaker has seen it too
//	client's deadline  who is too late costs nothing more
//	limits BeforeAuth  strangers do not make us verify credentials without bound
//	auth               what follows may go by who calls
//	limits             a refusal is no failure of the service, so it stands outside of the breaker
//	breaker            judges what the service does, not what clients do
//	own time           inside of the breaker: who is too slow has failed
//	validation         of gRPC's messages; HTTP's in the handler, by Bind
//
// # When things fail
//
// What cannot be judged is refused by auth and passed by the rest as each says: an Authenticator that cannot tell is 503, a
// limit whose store is gone does as its Config says. A refusal is two lines of text over HTTP, for people and a word to look
// it up by, and a status with details over gRPC; invalid content is a problem document (RFC 9457), and a BadRequest. Nobody is
// told what stands behind an error: that is in the access line.
//
// # Concurrency
//
// A Chain does not change after New and may be used by all goroutines; there is nothing to close. A Call and its Principal are
// valid while the call lasts and are read only.
package chain
