// Package observe is how a service is seen from outside: a *slog.Logger that writes zap's JSON with the trace of each
// line, an OpenTelemetry set-up whose requests cost two allocations while nobody records them, a Prometheus registry that
// no label can blow up, and profiles that are taken by themselves when CPU or latency spike. Each part works alone.
//
//	log, _ := observe.NewLog(observe.LogConfig{})
//	tracing, _ := observe.NewTracing(observe.TracingConfig{Service: "orders", Exporter: exporter})
//	metrics, _ := observe.NewMetrics(observe.MetricsConfig{})
//	profiler, _ := observe.NewProfiler(observe.ProfilerConfig{Dir: "/var/lib/orders/profiles", LatencyAbove: time.Second})
//	middleware, _ := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing, Metrics: metrics, Profiler: profiler})
//	go profiler.Run(ctx)
//	go http.ListenAndServe("127.0.0.1:9090", observe.Admin(metrics))
//	http.ListenAndServe(":8080", middleware.HTTP(mux))
//
// # What is promised when things fail
//
// The service does not notice. A log whose output is slow or full drops lines, counts them, and says in the log how many
// it dropped. Spans that no exporter takes are dropped after QueueMax. A metric with too many label values counts the
// rest as "other" and counts that. A profile that cannot be written is counted and logged, and the directory never holds
// more than FilesMax files and BytesMax bytes. Nothing here makes a request wait or fail.
//
// # Why not otelhttp and otelgrpc
//
// They build attributes and several contexts before they know whether anybody will see them, some 20 allocations for a
// request. Here the decision comes first, from the header or from the trace id that is about to be used; what is not
// recorded gets its ids, so that logs have them and the next service gets them, and nothing else. What is recorded goes
// through OpenTelemetry's SDK as always.
//
// Nothing global is set: call otel.SetTracerProvider(tracing.Provider()) where libraries want it.
//
// # Concurrency
//
// All types may be used by many goroutines, except that Run and Check of a Profiler are for one. NewLog starts a goroutine
// that Close ends, NewTracing with an exporter one that Shutdown ends.
package observe
