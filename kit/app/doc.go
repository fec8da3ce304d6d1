// Package app runs a service: its HTTP and gRPC servers behind one chain of policies, what it needs started before and stopped
// after them, its health, its place in a registry, and an end that loses no request.
//
//	a, err := app.New(app.Config{
//		Name:  "orders",
//		Host:  host,
//		HTTP:  app.HTTPConfig{Address: ":8080", Handler: mux},
//		GRPC:  app.GRPCConfig{Address: ":9090", Register: func(s *grpc.Server) { orderspb.RegisterOrdersServer(s, orders) }},
//		Admin: app.AdminConfig{Address: "127.0.0.1:9091", Handler: observe.Admin(metrics)},
//		Components: []app.Component{{Name: "database", Start: db.PingContext, Stop: func(context.Context) error { return db.Close() }}},
//		Checks:     []app.Check{{Name: "redis", Run: ping, Critical: true}},
//		Register: []app.Registrar{func(ctx context.Context, at app.Addresses) (app.Registration, error) {
//			return reg.Register(ctx, registry.Instance{Service: "orders", ID: host, Address: at.GRPC})
//		}},
//	})
//	...
//	err = a.Run(context.Background()) // until SIGTERM or SIGINT
//
// # The life of a service
//
// Run listens, so that a port that is taken is known before anything else happens. Components start in the order given; one that
// fails, hangs or panics has those before it stopped again, in reverse. Then the checks begin, and when all critical ones have
// passed, the service is ready: requests are let in, and it is registered. Until then /healthz answers 200, /readyz 503, requests
// get 503 and calls UNAVAILABLE. A check runs in the background and never because somebody asked for /readyz.
//
// # How it ends
//
// The first SIGTERM or SIGINT, the end of Run's context, Shutdown, a server that fails and a component whose Run fails all begin the
// drain. Its phases are logged and shown by /readyz:
//
//	deregister  it is taken out of the registry
//	wait        until callers have heard of it; it serves as before
//	unready     /readyz says 503, the gRPC health service NOT_SERVING; it still serves
//	goaway      callers are told to go: GOAWAY for gRPC and HTTP/2, Connection: close in answers of HTTP/1; Draining tells handlers
//	finish      nothing new is taken; what runs is awaited
//	stop        components stop, in reverse
//
// A request is lost only if it runs longer than the goaway and finish phases together. What was cut off is in Run's error, a *CutOff.
// A second signal, or the end of Shutdown's context, ends everything at once.
//
// # When things fail
//
// A critical check that fails makes /readyz 503 and the gRPC health NOT_SERVING until it passes again; /healthz stays 200, since a
// restart mends no dependency. Panics of components and checks are errors, a *PanicError. A handler that panics costs its own request.
// A registry that cannot be reached holds up neither the start nor the end.
//
// # Concurrency
//
// All methods may be called from any goroutine at any time; Run once. What Config holds must not be changed after New. Admitting a
// request takes no global lock and allocates nothing. Run returns when all goroutines have ended but those of what was cut off.
package app
